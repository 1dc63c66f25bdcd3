"""An engine over the lake's events that knows people, devices and batches; what does not fit into memory it spills."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import duckdb

from infra.installation import Installation
from models.sql import texts
from tasks.dataset_events import Known
from tasks.dataset_known import known_now

_MEMORY: Final = "1GB"


@contextmanager
def lake_engine(here: Installation) -> Iterator[tuple[duckdb.DuckDBPyConnection, Known]]:
    """A connection with the tables `aliases` and `batches`, which `tasks.dataset_events.SAID` joins, and all that is
    known."""
    known = known_now(here)
    here.settings.var.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = {texts([str(here.settings.var / 'spill')])[1:-1]}")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        for name, rows in (("aliases", known.aliases), ("batches", known.batches)):
            connection.register(name, rows)
        yield connection, known
