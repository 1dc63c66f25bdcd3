"""Builds the commands of the servers and the worker, with their settings and secrets."""

import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from socket import gethostname

from sqlalchemy import URL, make_url

from infra.configuration.retention import seconds
from infra.configuration.settings import Settings
from infra.configuration.settings_file import NO_FILE, VARIABLE
from infra.keys import credentials
from infra.keys.credentials import secret
from infra.prefect_api.deployments import POOL
from infra.services import environment, settings_in_use
from infra.services.endpoints import QUIET, Endpoints, database_url, mlflow_login, prefect_login
from infra.services.processes import Command

HOST = "127.0.0.1"
_LOGINS = {"PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_PASSWORD"}
_PYTHON = (sys.executable, "-m")
_CODE = Path(__file__).resolve().parents[2]
_RARE_LOOPS = {
    f"PREFECT_SERVER_SERVICES_{name}_LOOP_SECONDS": "60"
    for name in ("PAUSE_EXPIRATIONS", "CLEANUP_RECONCILER", "REPOSSESSOR", "CANCELLATION_CLEANUP", "FOREMAN")
} | {"PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "30", "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT15S"}
"""Loops of the Prefect server that find little here: no flow pauses, and alerts wait for minutes.

By default, each runs every 5 to 20 seconds, which takes more than half of the processor time of an idle server.
"""
_BOUNDED = ("--http", "serving.http.bounded_http:BoundedProtocol")


def prefect_command(settings: Settings, database: URL, port: int) -> Command:
    """Return the command of the Prefect server. PGPASSWORD keeps the password out of the address, which it may log."""
    return Command(
        mark=mark(settings, "prefect"),
        arguments=[*_PYTHON, *f"prefect server start --host {HOST} --port {port}".split()],
        log=log(settings, "prefect"),
        environment=QUIET
        | {
            "PREFECT_HOME": str(settings.var / "prefect"),
            "PREFECT_API_URL": f"http://{HOST}:{port}/api",
            "PREFECT_API_DATABASE_CONNECTION_URL": _for_asyncpg(database),
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(settings.var / "prefect" / "page"),
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(seconds(settings.retention.prefect_runs)),
        }
        | _RARE_LOOPS
        | _further(settings),
        secrets=_password(database) | {"PREFECT_SERVER_API_AUTH_STRING": prefect_login(settings)},
        taken_over=environment.of_prefect(settings),
    )


def mlflow_command(settings: Settings, database: URL, port: int) -> Command:
    """Return the command of the MLflow server, with its users in the same database. Job execution would take 2 GB."""
    user, password = mlflow_login(settings)
    artifacts = settings.var / "mlflow" / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    address = _without_password(database)
    return Command(
        mark=mark(settings, "mlflow"),
        arguments=[*_PYTHON, *f"infra.registry.mlflow_server --host {HOST} --port {port}".split()],
        log=log(settings, "mlflow"),
        folder=_CODE,
        environment=QUIET
        | {
            "MLFLOW_BACKEND_STORE_URI": address,
            "MLFLOW_ARTIFACTS_DESTINATION": str(artifacts),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_AUTH_CONFIG_PATH": str(_mlflow_users(settings, address)),
            "MLFLOW_AUTH_ADMIN_USERNAME": user,
        }
        | _further(settings),
        secrets=_password(database)
        | {
            "MLFLOW_AUTH_ADMIN_PASSWORD": password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(settings, "mlflow-session"),
            # Without it, MLflow cannot read after a restart the webhooks that people created on its pages.
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": urlsafe_b64encode(
                bytes.fromhex(secret(settings, "mlflow-webhooks"))
            ).decode(),
        },
        taken_over=environment.of_mlflow(settings),
    )


def docs_command(settings: Settings, port: int) -> Command:
    """Return the command of the server of Data Docs, which reads its login and the pages from `var`."""
    serving = f"uvicorn --factory serving.data_docs:app --host {HOST} --port {port} --workers 1 --no-access-log".split()
    return Command(
        mark=mark(settings, "docs"),
        arguments=[*_PYTHON, *serving, *_BOUNDED, "--app-dir", str(_CODE), "--timeout-graceful-shutdown", "2"],
        log=log(settings, "docs"),
        environment={"TAILORBIRD_VAR": str(settings.var)} | _further(settings),
        taken_over=environment.of_data_docs(settings),
    )


def api_command(settings: Settings, port: int) -> Command:
    """Return the command of the API, which opens the database by the role `serving` and reads its own secrets."""
    serving = f"serving.api.startup --host {HOST} --port {port} --workers {settings.api_workers}"
    own = {"TAILORBIRD_VAR": str(settings.var), VARIABLE: str(settings.settings_file or NO_FILE)}
    read = settings_in_use.API_SETTINGS
    given = {variable: value for variable, value in environment.overrides(settings).items() if variable in read}
    public, secrets = _public_and_secret(settings, given | own)
    return Command(
        mark=mark(settings, "api"),
        arguments=[*_PYTHON, *serving.split()],
        log=log(settings, "api"),
        folder=_CODE,
        environment=public,
        secrets=secrets,
        taken_over=environment.of_api(settings),
        reads={name: value for name, value in settings_in_use.described(settings).items() if name in read},
    )


def worker_command(settings: Settings, endpoints: Endpoints) -> Command:
    """Return the command of the worker, which starts a process for each run of a deployment."""
    name = f"tailorbird-{gethostname()}"  # machines that share a Prefect server have a worker each
    worker = f"prefect worker start --pool {POOL} --type process --name {name}"
    # Runs of the worker send heartbeats, and a run without one for minutes is dead. Runs of commands send none, because
    # every flow with heartbeats waits up to a second at its end.
    # Each query of the worker costs 10 ms of the server's processor time, also while nothing is due.
    more = {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60"}
    reads = settings_in_use.overrides(settings) | {VARIABLE: str(settings.settings_file or NO_FILE)}
    return _client(settings, endpoints, "worker", worker, settings.home, more, reads)


def reconciler_command(settings: Settings, endpoints: Endpoints) -> Command:
    """Return the command of the reconciler. It polls often, so MLflow's client need not retry a call for minutes.

    It has one thread for computations, unless the shell states a number: answers of the API wait for a processor while
    the move of messages uses all of them.
    """
    more, described = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}, settings_in_use.described(settings)
    command = _client(settings, endpoints, "reconciler", "flows reconcile --watch", _CODE, more, described)
    return replace(command, taken_over={"OMP_NUM_THREADS": "1"} | dict(command.taken_over))


def supervisor_command(settings: Settings) -> Command:
    """Return the command of the process that starts services again, with the settings of this `up`."""
    own = {
        "TAILORBIRD_VAR": str(settings.var),
        "TAILORBIRD_HOME": str(settings.home),
        VARIABLE: str(settings.settings_file or NO_FILE),
    }
    return Command(
        mark=mark(settings, "supervisor"),
        arguments=[*_PYTHON, "infra.supervisor.supervisor"],
        log=log(settings, "supervisor"),
        folder=_CODE,
        secrets=environment.overrides(settings) | own,
        taken_over=environment.of_supervisor(settings),
        reads=settings_in_use.described(settings),
    )


def _client(
    settings: Settings,
    endpoints: Endpoints,
    name: str,
    module: str,
    folder: Path,
    more: Mapping[str, str],
    reads: Mapping[str, str],
) -> Command:
    """Return the command of a process that uses all services and reads the settings file; `reads` are its settings."""
    public, secrets = _public_and_secret(settings, endpoints.environment)
    return Command(
        mark=mark(settings, name),
        arguments=[*_PYTHON, *module.split()],
        log=log(settings, name),
        environment={**public, **more, "PYTHONUNBUFFERED": "1"},
        secrets=secrets,
        taken_over=environment.of_client(
            settings, own_prefect=endpoints.prefect_login is not None, own_mlflow=endpoints.mlflow_login is not None
        ),
        folder=folder,
        niceness=settings.batch_niceness,
        reads=reads,
    )


def _public_and_secret(settings: Settings, variables: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables without passwords, and those with passwords; the database's address loses its own."""
    public, hidden = dict(variables), _LOGINS | environment.secret_settings()
    secrets = {name: public.pop(name) for name in sorted(public) if name in hidden}
    if secrets.pop("TAILORBIRD_DATABASE_URL", None):
        database = make_url(database_url(settings))
        public["TAILORBIRD_DATABASE_URL"] = _without_password(database)
        secrets |= _password(database)
    return public, secrets


def log(settings: Settings, name: str) -> Path:
    """Return the log file of a service."""
    return settings.var / "log" / f"{name}.log"


def mark(settings: Settings, name: str) -> str:
    """Return the mark of a service, which identifies the processes of this installation."""
    return f"{settings.var}:{name}"


def _further(settings: Settings) -> dict[str, str]:
    """Return TAILORBIRD_PASS_ENVIRONMENT, so that a change of it restarts the server."""
    return {"TAILORBIRD_PASS_ENVIRONMENT": settings.pass_environment} if settings.pass_environment else {}


def _password(database: URL) -> dict[str, str]:
    return {"PGPASSWORD": str(database.password)} if database.password else {}


def _for_asyncpg(database: URL) -> str:
    """Return the address for asyncpg, which has `ssl` in place of `sslmode` and few other options."""
    known = {"sslmode": "ssl", "host": "host", "port": "port"}
    query = {known[name]: value for name, value in database.query.items() if name in known}
    return _without_password(database.set(drivername="postgresql+asyncpg", query=query))


def _without_password(url: URL) -> str:
    parts = (url.drivername, url.username, None, url.host, url.port, url.database, url.query)
    return URL.create(*parts).render_as_string(hide_password=False)


def _mlflow_users(settings: Settings, address: str) -> Path:
    """Write MLflow's login settings, which it reads only from a file.

    It caches checked passwords for an hour: a request takes 2 ms instead of 60.
    """
    path = settings.var / credentials.FOLDER / "mlflow.ini"
    path.touch(mode=0o600)
    lines = ["[mlflow]", "default_permission = READ", f"database_uri = {address}", "auth_cache_ttl_seconds = 3600"]
    path.write_text("\n".join(lines).replace("%", "%%") + "\n")
    return path
