"""Selects the variables that each service inherits from the shell that runs `up`; no others are passed on."""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from fnmatch import fnmatchcase
from typing import Final

from pydantic import SecretStr

from infra.configuration.settings import Settings, in_file, variable_of

_SYSTEM: Final = ("PATH", "LANG", "LANGUAGE", "LC_*", "TZ", "TZDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_*")
_PYTHON: Final = (
    *("HOME", "USER", "LOGNAME", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
    *("PYTHON*", "VIRTUAL_ENV"),
)
_NETWORK: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
_DATABASE: Final = ("PG*", "KRB5*")
"""Variables of libpq: certificates, password and service files of an external database server."""
_SOURCES: Final = ("MIXPANEL_*",)
"""The service accounts of sources, and their addresses."""
_STORES: Final = (
    *("AWS_*", "GOOGLE_*", "AZURE_*", "CLOUDSDK_*", "CLOUD_STORAGE_*", "SERVICE_ACCOUNT", "IDENTITY_*", "MSI_*"),
    *("DELTA_DYNAMO_*", "DYNAMO_LOCK_*"),
)
"""Variables of the clients of Amazon, Google and Azure in deltalake and pyarrow."""
_THREADS: Final = (
    *("OMP_*", "GOMP_*", "KMP_*", "OPENBLAS_*", "MKL_*", "BLIS_*", "NUMEXPR_*", "VECLIB_*", "RAYON_*", "TOKIO_*"),
    *("ARROW_*", "MALLOC_*"),
)
_PREFECT: Final = ("PREFECT_[!_]*",)  # two underscores: the state of the run of this process
_PREFECT_LOGIN: Final = ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")
_MLFLOW: Final = ("MLFLOW_*",)
_MLFLOW_LOGIN: Final = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_MLFLOW_CLIENT: Final = ("MLFLOW_TRACKING_*", "MLFLOW_S3_*")
_SERVERS_ONLY: Final = (
    *("PREFECT_SERVER_*", "PREFECT_API_DATABASE_*"),
    *("MLFLOW_AUTH_*", "MLFLOW_BACKEND_STORE_*", "MLFLOW_FLASK_*"),
)
"""Databases, logins and keys of servers, which clients do not need."""


def of_postgres() -> dict[str, str]:
    """Return the variables for PostgreSQL: paths, language and time zone."""
    return _taken(_SYSTEM)


def of_prefect(settings: Settings) -> dict[str, str]:
    """Return the variables for the Prefect server: its own settings, and proxies for notifications."""
    return _of_server(settings, _PREFECT, _PREFECT_LOGIN)


def of_mlflow(settings: Settings) -> dict[str, str]:
    """Return the variables for the MLflow server: its own settings, and proxies for stores and webhooks."""
    return _of_server(settings, _MLFLOW, _MLFLOW_CLIENT)


def of_data_docs(settings: Settings) -> dict[str, str]:
    """Return the variables for the server of Data Docs: its password, if the shell has one."""
    return _taken((*_SYSTEM, *_PYTHON, "TAILORBIRD_SECRET_DOCS_PAGE", *_further(settings)))


def of_api(settings: Settings) -> dict[str, str]:
    """Return the variables for the API: secrets, limits of threads, and the exporter of traces."""
    included = (*_SYSTEM, *_PYTHON, *_NETWORK, *_THREADS, "OTEL_*", "TAILORBIRD_SECRET_*", *_of_database(settings))
    return _taken((*included, *_further(settings)))


def of_client(settings: Settings, *, own_prefect: bool, own_mlflow: bool) -> dict[str, str]:
    """Return the variables for the worker and the reconciler: secrets, stores, proxies and limits of threads.

    Settings are not included: see `of_settings`. Logins of external servers are left out if own servers are used.
    """
    included = (
        *_SYSTEM,
        *_PYTHON,
        *_NETWORK,
        *_STORES,
        *_SOURCES,
        *_THREADS,
        *_PREFECT,
        *_MLFLOW,
        "TAILORBIRD_SECRET_*",
    )
    logins = (*(_PREFECT_LOGIN if own_prefect else ()), *(_MLFLOW_LOGIN if own_mlflow else ()))
    taken = _taken((*included, *_of_database(settings)), (*logins, *_SERVERS_ONLY))
    return taken | _taken(_further(settings))


def of_supervisor(settings: Settings) -> dict[str, str]:
    """Return the variables of all services, which the supervisor starts again; their settings are not included."""
    services = (of_prefect(settings), of_mlflow(settings), of_data_docs(settings), of_api(settings))
    clients = of_client(settings, own_prefect=False, own_mlflow=False)
    known = {variable_of(name) for name in Settings.model_fields}
    return {name: value for each in (*services, clients) for name, value in each.items() if name not in known}


def of_settings(settings: Settings) -> dict[str, str]:
    """Return every non-empty setting by its variable, including passwords."""
    values = {variable_of(name): _written(getattr(settings, name)) for name in type(settings).model_fields}
    return {variable: value for variable, value in values.items() if value}


def overrides(settings: Settings) -> dict[str, str]:
    """Return the settings that differ from the settings file: those of the shell or of the caller."""
    plain = of_settings(in_file(settings.settings_file, var=settings.var, home=settings.home))
    return {variable: value for variable, value in of_settings(settings).items() if plain.get(variable) != value}


def secret_settings() -> set[str]:
    """Return the variables whose values no description of a service contains."""
    return {variable_of(name) for name in secret_names()}


def secret_names() -> set[str]:
    """Return the settings that contain passwords."""
    return {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}


def _of_server(settings: Settings, own: Iterable[str], excluded: Iterable[str]) -> dict[str, str]:
    included = (*_SYSTEM, *_PYTHON, *_NETWORK, *own, *_of_database(settings))
    return _taken(included, excluded) | _taken(_further(settings))


def _of_database(settings: Settings) -> tuple[str, ...]:
    return () if settings.database_url is None else _DATABASE


def _further(settings: Settings) -> list[str]:
    """Return the names in TAILORBIRD_PASS_ENVIRONMENT."""
    return [name for name in re.split(r"[\s,]+", settings.pass_environment) if name]


def _taken(included: Iterable[str], excluded: Iterable[str] = ()) -> dict[str, str]:
    """Return the variables of this process that match an included pattern and no excluded one."""
    selected = [name for name in os.environ if _matches(name, included) and not _matches(name, excluded)]
    return {name: os.environ[name] for name in sorted(selected)}


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _written(value: object) -> str:
    """Return a setting's value in the form of a variable."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if is_dataclass(value) and not isinstance(value, type):
        return json.dumps(asdict(value))
    if isinstance(value, dict):
        return json.dumps({slug: asdict(timing) for slug, timing in value.items()}) if value else ""
    return "" if value is None else str(value)
