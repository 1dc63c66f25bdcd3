"""A small installation whose Prefect and MLflow do not run, for all tests of a module."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import create_engine, text

import tasks
from infra.database.engine import engine
from infra.installation import Installation, current
from infra.services.embedded_postgres import EmbeddedPostgres
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users

_NUMBERS = count(1)
_CLOSED = "http://127.0.0.1:9"
MAPPING = Path(tasks.__file__).parent / "sources/mappings/complete_journey.toml"
_LOCATION = re.compile('location = "[^"]*"')
_FILES = {"products": ingest_items, "demographics": ingest_users}


@pytest.fixture(scope="module")
def stocked(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, shop_tables: dict[str, pa.Table]
) -> Iterator[Installation]:
    """Ingest a catalogue and users; files and mapping are in the current folder.

    Calls to Prefect and MLflow fail at once. Without events, slow commands end after they have checked their arguments.
    """
    folder, name = tmp_path_factory.mktemp("fuzz"), f"fuzz_{next(_NUMBERS)}"
    with pytest.MonkeyPatch.context() as patch:
        _administer(postgres, f"CREATE DATABASE {name} TEMPLATE migrated")
        for variable in ("LAKE", "BUNDLES", "EXPORTED_BY"):
            patch.delenv(f"TAILORBIRD_{variable}", raising=False)
        for variable, value in _environment(postgres.url(name), folder).items():
            patch.setenv(variable, value)
        patch.chdir(folder)
        current.cache_clear()
        for file, task in _FILES.items():
            pq.write_table(shop_tables[file], folder / f"{file}.parquet")
            task.fn("complete_journey", str(folder / f"{file}.parquet"))
        (folder / "shop.toml").write_text(_LOCATION.sub('location = "."', MAPPING.read_text(), count=1))
        yield current()
        current.cache_clear()
        engine(postgres.url(name)).dispose()
        _administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def _environment(database: str, folder: Path) -> dict[str, Any]:
    own = {"VAR": str(folder / "var"), "DATABASE_URL": database, "DOCS_PORT": "0"}
    servers = {"PREFECT_API_URL": f"{_CLOSED}/api", "MLFLOW_TRACKING_URI": _CLOSED}
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    return {f"TAILORBIRD_{name}": value for name, value in own.items()} | servers | quick


def _administer(server: EmbeddedPostgres, statement: str) -> None:
    admin = create_engine(server.url(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(statement))
    admin.dispose()
