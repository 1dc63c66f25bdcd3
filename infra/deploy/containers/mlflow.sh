#!/bin/sh
# Starts MLflow behind a password. Its users live in the same database as its runs; the file that says so
# is written here because MLflow reads that address from nowhere else. Checked passwords are kept for an hour:
# 2 ms a request instead of 60; one process, so that a password that is changed counts at once.
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
exec mlflow server --app-name basic-auth --host 0.0.0.0 --port 5000 --workers 1
