#!/bin/sh
# Writes .env with fresh passwords for docker-compose.yml. An .env that exists is never touched:
# PostgreSQL keeps the passwords it was created with.
set -eu

if [ -e .env ]; then
    echo "make env: .env is already there; delete it first if you want new passwords" >&2
    exit 1
fi
umask 077
draft=$(mktemp .env.XXXXXX)
trap 'rm -f "$draft"' EXIT
for name in TAILORBIRD_POSTGRES_PASSWORD TAILORBIRD_DATABASE_PASSWORD PREFECT_DATABASE_PASSWORD \
    MLFLOW_DATABASE_PASSWORD PREFECT_PASSWORD MLFLOW_PASSWORD MLFLOW_SESSION_KEY DOCS_PASSWORD; do
    # Hexadecimal digits need no escaping in a URL.
    printf '%s=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >>"$draft"
done
ln "$draft" .env
echo "make env: wrote .env (only you can read it); now: docker compose up --build"
