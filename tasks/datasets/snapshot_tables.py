"""Computes the tables of a data set from a workspace: features at each cut, labels after it, and their digests."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, pairwise, zip_longest
from typing import Final

import duckdb
import pyarrow as pa

from infra.installation import Installation
from infra.lake.delta_lake import Lake
from models import columns
from models.datasets.dataset import ACTS
from models.datasets.labels import LabelConfig, impressions, labels
from models.datasets.time_splits import Cuts
from models.features.expressions import no_cache
from models.features.planned_queries import MOMENT, columns_of, plan
from models.features.tables.registry import TABLES, Build
from models.features.tables.user_features import sequences
from models.primitives.arrow_sql import quoted, texts
from tasks.datasets.event_workspace import CACHED, Workspace, catalogue_at
from tasks.lake.reference_data import ReferenceData

TablePart = Callable[[Workspace], pa.RecordBatchReader]
"""A function that computes a table, or the part of a table at one cut."""

_PARALLEL_TABLES: Final = 2
_LABELS: Final = "labels"
COPIED: Final = ("users", "items", "aliases", "batches", "item_history", "user_history")
BUILDS: Final[dict[str, Build]] = {name: table.build for name, table in TABLES.items()} | {
    ACTS: lambda events, _items, now, materialize=no_cache: sequences(events, now)  # noqa: ARG005 -- the signature of `Build`
}
"""The features of each cut, by the name of their table."""
_INTERACTIONS: Final = f"""
    SELECT user_key, item_id, occurred_at, received_at, refunded_at, session_id, quantity, value
    FROM events WHERE event_type = '{columns.PURCHASE}'
"""
NO_IMPRESSIONS: Final = """
    SELECT user_key, item_id, recommendation_id, placement, position, occurred_at AS shown_at, 0::BIGINT AS label
    FROM events WHERE false
"""
"""The table of a shop without impressions: to plan it as labels takes a tenth of a second at each cut."""


def stored_rows(lake: Lake, version: str, name: str) -> str:
    """Return SQL of a table of a data set in the lake; Delta writes no file for an empty one."""
    files = lake.dataset_files(version, name)
    return f"read_parquet({texts(files)})" if files else "(SELECT 1 AS empty WHERE false)"


def parts(space: Workspace, known: ReferenceData, moments: Cuts, label: LabelConfig) -> dict[str, list[TablePart]]:
    """Return the parts of each table of a data set, by name.

    Raises TailorbirdError if the labels' horizon ends after the next cut.
    """
    spans = pairwise((0, *moments.all()))
    labelled = {cut: _labelled(space, cut, end, label) for cut, end in pairwise(moments.all())}
    return {
        "interactions": [lambda space: space.with_keys(_INTERACTIONS)],
        **{name: [partial(_copied, rows=getattr(known, name))] for name in COPIED},
        **features(moments),
        _LABELS: [partial(_dated, rows=rows, moment=cut) for cut, rows in labelled.items()],
        "impressions": [partial(_impressions, start=start, cut=cut, label=label) for start, cut in spans],
    }


def write(
    installation: Installation, space: Workspace, version: str, tables: Mapping[str, Sequence[TablePart]]
) -> Iterator[str]:
    """Write tables to the lake, all parts of one cut before those of the next; yields their names part by part.

    Planning and encoding keep one core busy; meanwhile the other cores work on a second table. More tables at a time
    would only share the same memory.
    """

    def written(name: str, part: TablePart, before: Future[str] | None) -> str:
        if before:
            before.result()  # it has begun, because a pool starts work in the order of submission
        with space.cursor() as cursor:
            installation.lake.write_dataset(version, name, part(cursor), append=before is not None)
        return name

    by_cut = zip_longest(*([(name, part) for part in table_parts] for name, table_parts in tables.items()))
    latest: dict[str, Future[str]] = {}
    with space.limit_engine_threads(_PARALLEL_TABLES), ThreadPoolExecutor(_PARALLEL_TABLES) as pool:
        work = []
        for name, part in filter(None, chain.from_iterable(by_cut)):
            latest[name] = pool.submit(written, name, part, latest.get(name))
            work.append(latest[name])
        try:
            yield from (done.result() for done in work)
        finally:
            pool.shutdown(cancel_futures=True)


def keys_of(name: str) -> tuple[str, ...]:
    """Return the key columns of a table with computed numbers; none for a copied table."""
    if name == _LABELS:
        return (columns.AS_OF, columns.USER_KEY, columns.ITEM_ID)
    return (columns.AS_OF, *TABLES[name].keys) if name in TABLES else ()


def features(moments: Cuts) -> dict[str, list[TablePart]]:
    """Return the tables of `BUILDS` at each cut, with the cut in `as_of`."""
    return {
        name: [partial(_built, build=build, moment=moment) for moment in moments.all()]
        for name, build in BUILDS.items()
    }


def _built(space: Workspace, build: Build, moment: int) -> pa.RecordBatchReader:
    events, items = columns_of(space.events()), columns_of(space.items(moment))
    catalogue = f'{CACHED}."{catalogue_at(MOMENT)}"' if space.dated else "item_attributes"
    queries = plan(build, events, items, catalogue, CACHED).at(moment)
    for name, query in queries.stored:
        space.cached(partial(str, query), name)
    return _dated(space, queries.table, moment)


def _dated(space: Workspace, rows: str, moment: int) -> pa.RecordBatchReader:
    """Return the rows of a query with `moment` in `as_of`."""
    return space.with_keys(f"SELECT {moment}::BIGINT AS {columns.AS_OF}, * FROM ({rows})")


def _copied(_space: Workspace, rows: pa.Table) -> pa.RecordBatchReader:
    return rows.to_reader()


def _labelled(space: Workspace, cut: int, end: int, label: LabelConfig) -> str:
    """Return the query of the labels after a cut, as known at the next cut."""
    query: str = labels(space.events(), cut, label.until(end - cut), end).to_native().sql_query()
    return query


def _impressions(space: Workspace, start: int, cut: int, label: LabelConfig) -> pa.RecordBatchReader:
    """Return the impressions from one cut to the next with their outcomes, as known at the latter."""
    if not space.has_impressions:
        return _dated(space, NO_IMPRESSIONS, cut)
    return _dated(space, impressions(space.events(), start, cut, label).to_native().sql_query(), cut)


ENGINE: Final = f"duckdb {duckdb.__version__}"
"""The version of the hash function. Digests are comparable within one version only."""
_FLOATS: Final = ("FLOAT", "DOUBLE")


def content_hash(connection: duckdb.DuckDBPyConnection, rows: str, keys: Sequence[str] = ()) -> str:
    """Return the digest of `rows`, which is SQL of a table.

    Without `keys` every value counts exactly. With keys, floats are computed in an order that changes from run to run,
    so their sums weighted by the key count, to seven digits.
    """
    kinds = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()}
    summed = [quoted(name) for name, kind in kinds.items() if keys and kind in _FLOATS]
    exact = [
        f"round({quoted(name)}, 6)" if kind in _FLOATS else quoted(name)
        for name, kind in kinds.items()
        if quoted(name) not in summed
    ]
    key_columns = [quoted(key) for key in keys if key in kinds]  # an empty table may have lost its columns
    weight = f"1 + hash({', '.join(key_columns) or '0'}) / 2.0::DOUBLE ** 64"
    sums = "".join(f", sum(coalesce({name}::DOUBLE, -1) * weight)" for name in summed)
    count, total, *numbers = connection.execute(
        f"""
        SELECT count(*), sum(hash({", ".join(exact)})::HUGEINT){sums} FROM (SELECT *, {weight} AS weight FROM {rows})
        """
    ).fetchall()[0]
    if not count:
        return hashlib.sha256(b"").hexdigest()
    figures = [str(count), str(total), *(f"{value:.6e}" for value in numbers)]
    return hashlib.sha256(json.dumps([list(kinds), *figures]).encode()).hexdigest()
