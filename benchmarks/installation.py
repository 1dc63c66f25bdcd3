"""Provides an installation for a benchmark, empty or with the Complete Journey: PostgreSQL and a lake only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.results import FOLDER
from infra.database.engine import migrate
from infra.services.embedded_postgres import EmbeddedPostgres
from models.datasets.dataset import Dataset

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


@contextmanager
def journey() -> Iterator[Dataset]:
    """Yield the Complete Journey as a data set, split like the demo's; the next run reuses the installation.

    PostgreSQL runs for the length of the block.
    """
    from tasks.datasets.build_dataset import build_dataset, split_by
    from tasks.datasets.load_dataset import open_dataset
    from tasks.ingest.events.ingest_events import ingest_events
    from tasks.ingest.list_files import list_files
    from tasks.ingest.reference.ingest_items import ingest_items
    from tasks.ingest.reference.ingest_users import ingest_users

    server = installed(FOLDER.absolute() / "journey-var")
    steps = {"items": ingest_items, "users": ingest_users, "events": ingest_events}
    try:
        for part, file in list_files.fn("complete_journey"):
            steps[part].fn("complete_journey", file)
        manifest = build_dataset.fn(split_by(validation_days=30, test_days=31))
        yield open_dataset(manifest["version"])
    finally:
        server.stop()
