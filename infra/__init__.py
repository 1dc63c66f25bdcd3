"""Infrastructure of all processes: settings, servers, schema, lake, keys, bundles and MLflow's registry."""
