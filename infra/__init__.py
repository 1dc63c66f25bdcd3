"""What processes stand on: settings, servers, schema, lake, identity, bundles and the MLflow registry."""
