"""Every text that an installation stores, to look for keys of users in."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import text

from infra.installation import Installation, current
from tasks.datasets.load_dataset import open_dataset
from tasks.privacy.find_user import Found, Search, search

_TABLES = text(
    "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables "
    "WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
)


def started() -> Installation:
    """The installation as a process sees it that starts now."""
    current.cache_clear()
    open_dataset.cache_clear()
    return current()


def person(stage: Any, position: int) -> str:
    """A raw id."""
    return str(stage.shop.demographics["household_id"][position].as_py())


def keys_of(installation: Installation) -> dict[str, str]:
    """The key of every known raw id."""
    with installation.engine.connect() as connection:
        return dict(connection.execute(text("SELECT user_id, user_key FROM identity.users")).tuples().all())


def dump(installation: Installation) -> dict[str, str]:
    """Each table as text."""
    with installation.engine.connect() as connection:
        return {
            name: "\n".join(connection.execute(text(f"SELECT t::text FROM {name} AS t")).scalars())
            for name in connection.execute(_TABLES).scalars().all()
        }


def missing_events(installation: Installation) -> int:
    """How many events the lake lacks of those that the ledger counts as accepted and not as deleted."""
    with installation.engine.connect() as connection:
        expected = connection.execute(text("SELECT sum(accepted - deleted) FROM ingest_batches")).scalar_one()
    table = installation.lake.events()
    return int(expected) - (table.to_pyarrow_dataset().count_rows() if table else 0)


def find_user(installation: Installation, user_id: str, others: Mapping[str, Search] | None = None) -> list[Found]:
    """The places that name a user, of the stores that can be searched."""
    return [place for place in search(installation, user_id, others) if place.rows]


def files(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file as text; of Parquet the words of every column too, as they are packed in the file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes().decode("latin-1")
            if path.suffix == ".parquet":
                yield str(path), "\n".join(_words(pq.ParquetFile(path).read()))


def _words(rows: pa.Table) -> Iterator[str]:
    for column in rows.columns:
        yield from map(str, column.to_pylist())


def holding(installation: Installation, keys: set[str]) -> list[str]:
    """The tables and the files of the lake in which one of these keys is."""
    places: list[tuple[str, Any]] = [*dump(installation).items(), *files(Path(installation.settings.lake))]
    return [name for name, content in places if any(key in content for key in keys)]
