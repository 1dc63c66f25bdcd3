#!/bin/sh
# Writes .env with new passwords for docker-compose.yml. Passwords in an existing .env are kept, because PostgreSQL
# keeps those it was created with. Passwords that a newer version needs are added.
set -eu

umask 077
draft=$(mktemp .env.XXXXXX)
trap 'rm -f "$draft"' EXIT
[ ! -e .env ] || cat .env >"$draft"
added=0
for name in TAILORBIRD_POSTGRES_PASSWORD TAILORBIRD_DATABASE_PASSWORD PREFECT_DATABASE_PASSWORD \
    MLFLOW_DATABASE_PASSWORD READER_DATABASE_PASSWORD SERVING_DATABASE_PASSWORD INGEST_DATABASE_PASSWORD \
    OPERATOR_DATABASE_PASSWORD PREFECT_PASSWORD MLFLOW_PASSWORD MLFLOW_SESSION_KEY DOCS_PASSWORD REDIS_PASSWORD RABBITMQ_PASSWORD \
    METRICS_KEY GRAFANA_PASSWORD; do
    if ! grep -q "^$name=" "$draft"; then
        # Hexadecimal digits need no escaping in a URL.
        printf '%s=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >>"$draft"
        added=$((added + 1))
    fi
done
if [ "$added" = 0 ]; then
    echo "make env: .env is already there, with all passwords; delete it first if you want new ones" >&2
    exit 1
fi
if [ -e .env ]; then
    mv "$draft" .env
    echo "make env: added $added passwords to .env; the others are as they were"
else
    ln "$draft" .env
    echo "make env: wrote .env (only you can read it); now: docker compose up --build"
fi
