#!/bin/sh
# The one-shot `deploy` service: migrates the schema, then sends Prefect the deployments of prefect.yaml, the schedules
# and the alerts. Repeating it changes nothing.
set -eu

python - <<'PY'
from infra.configuration import addresses, settings
from infra.database import engine
from infra.prefect_api import deployments
from infra.services.database_access import role_rights

given = settings.load()
if given.database_url is None:
    raise SystemExit("deploy: set TAILORBIRD_DATABASE_URL")
url = addresses.database(given.database_url.get_secret_value())
try:
    engine.migrate(given.database_url.get_secret_value())
except engine.SchemaError as error:
    raise SystemExit(f"deploy: {error}") from None
role_rights.ensure(given, url, url, print)
deployments.write_file(given, given.var / "prefect" / "deployments.yaml", demo=False)
PY
prefect --no-prompt work-pool create tailorbird --type process --overwrite
# Without TAILORBIRD_HOME Prefect keeps the template in prefect.yaml, and each worker fills in its own folder.
env -u TAILORBIRD_HOME prefect --no-prompt deploy --all --prefect-file "$TAILORBIRD_VAR/prefect/deployments.yaml"
python - <<'PY'
from infra.configuration import settings
from infra.prefect_api import automations
from infra.services import endpoints

given = settings.load()
automations.ensure(endpoints.endpoints(given), given)
PY
