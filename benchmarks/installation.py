"""Provides an installation for a benchmark: PostgreSQL and a lake, without Prefect and MLflow servers."""

import os
from pathlib import Path
from typing import Final

from infra.database.engine import migrate
from infra.services.embedded_postgres import EmbeddedPostgres

_NO_SERVER: Final = "http://127.0.0.1:9"


def installed(var: Path) -> EmbeddedPostgres:
    """Start PostgreSQL in that folder; this process, and those that it starts, belong to the installation then.

    Tasks are called as functions, without runs. Whoever calls stops or destroys the server.
    """
    server = EmbeddedPostgres(var)
    server.start()
    migrate(server.url())
    os.environ |= {"TAILORBIRD_SETTINGS": "none", "TAILORBIRD_VAR": str(var), "TAILORBIRD_DATABASE_URL": server.url()}
    os.environ |= {"PREFECT_API_URL": f"{_NO_SERVER}/api", "MLFLOW_TRACKING_URI": _NO_SERVER}
    return server
