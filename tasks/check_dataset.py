"""Holds a data set against its suite: ranges, nulls, row counts against last time, and who is in it."""

from typing import Any, Final

import duckdb
import pyarrow as pa
from sqlalchemy import select

from expectations import datasets as promises
from infra.installation import Installation
from infra.schema import datasets
from models import columns
from models.features.groups import groups
from models.features.tables import TABLES
from tasks.quality import BatchRefusedError, Promises, judge, refusal
from tasks.report import link_docs

SAMPLE_ROWS: Final = 10_000
Stored = dict[str, str]
"""SQL for each table of a data set."""


def check_dataset(
    here: Installation, connection: duckdb.DuckDBPyConnection, version: str, stored: Stored, users: pa.Table
) -> dict[str, float | None]:
    """The figures of a data set, once its suite has passed. Raises BatchRefusedError, with the page that shows why."""
    shares = groups(users, _trained(connection, stored))
    found = promises.figures(_counted(connection, stored), shares, _previous(here))
    samples = promises.sample({name: _sampled(connection, stored[name]) for name in promises.TABLES})
    findings = judge(version, "dataset", Promises(promises.rules(), promises.bounds(groups=shares)), samples, found)
    reason = refusal(findings)
    page = link_docs({"batch_id": version, "dataset": "dataset", "status": "refused" if reason else "passed"})
    if reason:
        where = f" Its page: {page['data_docs']}" if page["data_docs"] else ""
        raise BatchRefusedError(f"The data set {version} is not what its suite expects. {reason}{where}")
    return found


def _counted(connection: duckdb.DuckDBPyConnection, stored: Stored) -> dict[str, float]:
    """Every figure that the suite looks at, each table read once."""
    wanted: dict[str, dict[str, str]] = {"interactions": dict(promises.INTERACTIONS)}
    for name, features in promises.TABLES.items():
        keys = TABLES[name].keys
        wanted[name] = promises.aggregates(name, features, (columns.AS_OF, *keys) if len(keys) == 1 else ())
    found: dict[str, float] = {}
    for name, aggregates in wanted.items():
        chosen = ", ".join(aggregates.values())
        values = connection.execute(f"SELECT {chosen} FROM {stored[name]}").fetchall()[0]
        found |= {figure: float(value) for figure, value in zip(aggregates, values, strict=True) if value is not None}
    return found


def _trained(connection: duckdb.DuckDBPyConnection, stored: Stored) -> Any:
    """The users whose purchases are learned from."""
    bought = f"SELECT DISTINCT user_key FROM {stored['interactions']}"
    return connection.sql(bought).to_arrow_table()["user_key"].combine_chunks()


def _sampled(connection: duckdb.DuckDBPyConnection, table: str) -> pa.Table:
    rows = f"SELECT * FROM {table} USING SAMPLE reservoir({SAMPLE_ROWS} ROWS) REPEATABLE (7)"
    return connection.sql(rows).to_arrow_table()


def _previous(here: Installation) -> dict[str, float | None] | None:
    """The figures of the last data set."""
    newest = select(datasets.c.manifest["figures"]).order_by(datasets.c.created_at.desc()).limit(1)
    with here.engine.connect() as connection:
        found: dict[str, float | None] | None = connection.execute(newest).scalar()
    return found
