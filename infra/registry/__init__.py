"""Client of MLflow: runs, registered versions and aliases."""
