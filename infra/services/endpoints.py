"""Addresses and logins of the services, and the environment variables that programs need to use them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from infra.configuration import addresses, settings_file
from infra.configuration.settings import Settings
from infra.keys.credentials import secret
from infra.services import environment as service_environment
from infra.services import state_file
from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.state_file import Service
from models.errors import TailorbirdError

USER = "tailorbird"
"""The user name on the pages."""
DATABASE = "tailorbird"
MODEL = "tailorbird"
"""The experiment and the registered model in MLflow."""
_NEWER, _CLOUD = "/v2", "prefect.cloud"
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class ServicesDownError(TailorbirdError):
    """A needed service is neither configured nor running."""


@dataclass(frozen=True)
class Endpoints:
    """Addresses and credentials of the services. Printing it shows no password.

    `database_url` is in psycopg2 form. `environment` holds the variables that Prefect, MLflow and `load()` read.
    `prefect_login` (user:password, as the page asks for it) and `mlflow_login` (user, password) are None for
    a service of somebody else. `docs_page` is empty and `docs_login` None when nobody serves Data Docs, and
    `api_page` is empty when `up` starts no API.
    """

    prefect_api_url: str
    prefect_page: str
    mlflow_page: str
    mlflow_tracking_uri: str = field(repr=False)
    database_url: str = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    prefect_login: str | None = field(default=None, repr=False)
    mlflow_login: tuple[str, str] | None = field(default=None, repr=False)
    docs_page: str = ""
    docs_login: str | None = field(default=None, repr=False)
    api_page: str = ""

    @property
    def runs_page(self) -> str:
        """Return Prefect's page of all runs."""
        return f"{pages_root(self.prefect_page)}/runs"

    @property
    def deployments_page(self) -> str:
        """Return Prefect's page of all deployments."""
        return f"{pages_root(self.prefect_page)}/deployments"

    def flow_run_page(self, run_id: str) -> str:
        """Return Prefect's page of a flow run."""
        return f"{self.runs_page}/flow-run/{run_id}"


def pages_root(page: str) -> str:
    """Return the root of the newer pages of a Prefect server; Prefect Cloud has only one set of pages.

    Without a login, the newer ones ask for the password and then show the linked page; the older ones show an error.
    """
    page = page.rstrip("/")
    host = urlsplit(page).hostname or ""
    is_cloud = host == _CLOUD or host.endswith(f".{_CLOUD}")
    return page if is_cloud or page.endswith(_NEWER) else page + _NEWER


def endpoints(settings: Settings) -> Endpoints:
    """Return the addresses of all services. Raises ServicesDownError for one that is not configured and never ran."""
    known = state_file.load(settings.var)
    settings = elsewhere(settings, known)
    prefect = settings.prefect_api_url or _address(known, "prefect")
    mlflow = settings.mlflow_tracking_uri or _address(known, "mlflow")
    docs = docs_page(settings, known)
    return Endpoints(
        prefect_api_url=addresses.web(prefect, "PREFECT_API_URL").address,
        prefect_page=page_of(prefect.rstrip("/").removesuffix("/api"), settings.prefect_page),
        mlflow_page=page_of(mlflow, settings.mlflow_page),
        mlflow_tracking_uri=addresses.web(mlflow, "MLFLOW_TRACKING_URI").address,
        database_url=database_url(settings),
        environment=_settings(settings) | _prefect(settings, prefect) | _mlflow(settings, mlflow) | QUIET,
        prefect_login=None if settings.prefect_api_url else prefect_login(settings),
        mlflow_login=None if settings.mlflow_tracking_uri else mlflow_login(settings),
        docs_page=docs,
        docs_login=docs_login(settings) if docs and settings.docs_url is None else None,
        api_page=known["api"].address if settings.api_port != 0 and "api" in known else "",
    )


def export(endpoints: Endpoints) -> None:
    """Set the variables in this process's environment. Call it before Prefect or MLflow is imported."""
    os.environ.update(endpoints.environment)


def elsewhere(settings: Settings, known: Mapping[str, Service]) -> Settings:
    """Return the settings without addresses of own servers: after `export` the environment contains those too."""
    exported = settings.exported_by == str(settings.var)
    own = {name: service.address for name, service in known.items() if exported or service.alive}
    pairs = {"prefect_api_url": own.get("prefect"), "mlflow_tracking_uri": own.get("mlflow")}
    return settings.model_copy(update={name: None for name, ours in pairs.items() if getattr(settings, name) == ours})


def database_url(settings: Settings) -> str:
    """Return the URL of Tailorbird's database in psycopg2 form. Raises ServicesDownError without one."""
    if settings.database_url is not None:
        return addresses.database(settings.database_url.get_secret_value()).render_as_string(hide_password=False)
    server = EmbeddedPostgres(settings.var)
    if server.running() is None:
        raise ServicesDownError("The database is not running. Start the services with: tailorbird up")
    return server.url(DATABASE, DATABASE, secret(settings, DATABASE))


def service_database(settings: Settings, served: Endpoints, name: str) -> str | None:
    """Return the URL of the database of our own `prefect` or `mlflow`; None for a server of somebody else."""
    if (served.prefect_login if name == "prefect" else served.mlflow_login) is None:
        return None
    if settings.database_url is None:
        return EmbeddedPostgres(settings.var).url(name, name, secret(settings, name))
    return addresses.database(served.database_url).set(database=name).render_as_string(hide_password=False)


def page_of(address: str, page: str) -> str:
    """Return the address at which people open a server: `page` if set, else `address`, without a password."""
    return addresses.shown(page or address).rstrip("/")


def prefect_login(settings: Settings) -> str:
    """Return user:password of the own Prefect server, for its page and for clients."""
    return f"{USER}:{secret(settings, 'prefect-page')}"


def mlflow_login(settings: Settings) -> tuple[str, str]:
    """Return user and password of the own MLflow server, for its page and for clients."""
    return USER, secret(settings, "mlflow-page")


def docs_login(settings: Settings) -> str:
    """Return user:password of the own Data Docs."""
    return f"{USER}:{secret(settings, 'docs-page')}"


def serves_docs(settings: Settings) -> bool:
    """Return whether `up` serves Data Docs: unless that is switched off, or another server does it."""
    return settings.docs_port != 0 and settings.docs_url is None


def docs_page(settings: Settings, known: Mapping[str, Service]) -> str:
    """Return the address of Data Docs; empty when nobody serves them. No part of Tailorbird needs them."""
    if settings.docs_url is not None:
        return addresses.shown(settings.docs_url).rstrip("/")
    return known["docs"].address if serves_docs(settings) and "docs" in known else ""


def _address(known: Mapping[str, Service], name: str) -> str:
    if name not in known:
        raise ServicesDownError(f"{name} is neither running nor configured. Start the services with: tailorbird up")
    return known[name].address


def _settings(settings: Settings) -> dict[str, str]:
    """Return the settings outside of the settings file, for every process of this installation."""
    own = {
        "TAILORBIRD_VAR": str(settings.var),
        "TAILORBIRD_HOME": str(settings.home),
        "TAILORBIRD_EXPORTED_BY": str(settings.var),
        settings_file.VARIABLE: str(settings.settings_file or settings_file.NO_FILE),
    }
    return service_environment.overrides(settings) | own


def _prefect(settings: Settings, url: str) -> dict[str, str]:
    given = addresses.web(url, "PREFECT_API_URL")
    environment = {"PREFECT_API_URL": given.address, "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    if settings.prefect_api_url is not None:
        # The login has its own variable, because Prefect and MLflow show addresses in errors.
        return environment | ({"PREFECT_API_AUTH_STRING": given.login} if given.login else {})
    # With its own home, Prefect neither reads nor changes the profile of the user who runs this.
    own = {"PREFECT_HOME": str(settings.var / "prefect"), "PREFECT_API_AUTH_STRING": prefect_login(settings)}
    own["PREFECT_UI_URL"] = pages_root(page_of(given.address.rstrip("/").removesuffix("/api"), settings.prefect_page))
    # Our server requires no CSRF tokens; otherwise each client first asks for one.
    own["PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"] = "false"
    return environment | own


def _mlflow(settings: Settings, url: str) -> dict[str, str]:
    if settings.mlflow_tracking_uri is not None:
        given = addresses.web(url, "MLFLOW_TRACKING_URI")
        user, _, password = given.login.partition(":")
        login = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password} if user else {}
        return {"MLFLOW_TRACKING_URI": given.address} | login
    user, password = mlflow_login(settings)
    return {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
