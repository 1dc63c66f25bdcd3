"""Keeps the events table quick to read: few large files in place of many small ones, and no files that nobody needs."""

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import accumulate
from math import ceil
from typing import Any, Final

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, PyFileSystem
from sqlalchemy import Engine, Integer, select

from infra.database.schema.schema import datasets
from models import columns
from models.errors import TailorbirdError

KEEP_LOG: Final = {"delta.logRetentionDuration": "interval 36500 days"}
"""By default Delta forgets after 30 days what a version was; data sets name versions for as long as they exist."""

ADVISED_FROM: Final = 200
"""Small files; each costs every reader a few milliseconds, and merging them rewrites their months."""
_FILE_BYTES: Final = 100 * 2**20
"""Delta merges files up to this size."""
_DAY_MS: Final = 86_400_000
_KEEPS_FILES: Final = ("WRITE", "VACUUM START", "VACUUM END")
"""Operations after which the table has all the files that it had before."""


class RowsChangedError(TailorbirdError):
    """The table counts other rows than before it was compacted."""


def dataset_versions(engine: Engine) -> list[int]:
    """The versions of the events table that data sets were built from."""
    version = datasets.c.manifest["events_version"].astext.cast(Integer)
    with engine.connect() as connection:
        return list(connection.execute(select(version).distinct().order_by(version)).scalars())


def months(table: DeltaTable) -> list[dict[str, Any]]:
    """Files, rows and bytes of each month, as the newest version has them."""
    files = pa.table(table.get_add_actions(flatten=True)).rename_columns({f"partition.{columns.MONTH}": columns.MONTH})
    sums = files.group_by(columns.MONTH).aggregate([([], "count_all"), ("num_records", "sum"), ("size_bytes", "sum")])
    names = {"count_all": "files", "num_records_sum": "rows", "size_bytes_sum": "bytes", columns.MONTH: columns.MONTH}
    found: list[dict[str, Any]] = sums.rename_columns(names).sort_by(columns.MONTH).to_pylist()
    return found


def total(found: Iterable[dict[str, Any]]) -> dict[str, int]:
    """The sums of several months."""
    rows = list(found)
    return {name: sum(row[name] for row in rows) for name in ("files", "rows", "bytes")}


def mergeable(found: Iterable[dict[str, Any]]) -> int:
    """Return how many files fewer these months would have after `compact`."""
    return sum(max(0, row["files"] - ceil(row["bytes"] / _FILE_BYTES)) for row in found)


def advice(found: Iterable[dict[str, Any]]) -> str | None:
    """Return why these months should be compacted, or None while they are quick to read."""
    files = mergeable(found)
    if files < ADVISED_FROM:
        return None
    return f"The lake has {files:,} small files that slow reading down. Merge them: tailorbird lake compact"


def compact(table: DeltaTable, now: datetime, keep_days: int, versions: Iterable[int]) -> dict[str, Any]:
    """Merge small files and delete those that only versions older than `keep_days` need, except the named `versions`.

    Call it while nothing is written. `now` is the database's time. Delta checks that merging changes no row; the count
    is checked here once more, before anything is deleted.
    """
    began, before, last = time.monotonic(), total(months(table)), table.version()
    if not KEEP_LOG.items() <= table.metadata().configuration.items():
        table.alter.set_table_properties(KEEP_LOG)
    table.optimize.compact()
    after = total(months(table))
    if after["rows"] != before["rows"]:
        counts = f"{before['rows']} rows before, {after['rows']} now"
        raise RowsChangedError(
            f"Compacting the lake went wrong: {counts}. Nothing was deleted; keep a copy of the lake."
        )
    kept = {*_readable(table, versions), *_young(table, now, keep_days, last)}
    deleted = _delete(table, keep_days, kept)
    table.create_checkpoint()
    figures = {"version": table.version(), "rows": after["rows"], "files_before": before["files"]}
    figures |= {"files": after["files"], "bytes_before": before["bytes"], "bytes": after["bytes"]}
    return {**figures, "files_deleted": deleted, "seconds": round(time.monotonic() - began, 1)}


def _delete(table: DeltaTable, keep_days: int, kept: Iterable[int]) -> int:
    """Delete what no kept version has, and what killed writers left behind; returns the number of files."""
    options: dict[str, Any] = {"retention_hours": 24 * keep_days, "enforce_retention_duration": False, "full": True}
    options["keep_versions"] = sorted(kept)
    unneeded = set(table.vacuum(dry_run=True, **options)) & _there(table)
    if unneeded:  # each round is two commits
        table.vacuum(dry_run=False, **options)
    return len(unneeded)


def _there(table: DeltaTable) -> set[str]:
    """What is in the table's folder: Delta also lists files that it has deleted before."""
    folder = PyFileSystem(DeltaStorageHandler(table.table_uri))
    return {found.path for found in folder.get_file_info(FileSelector("", recursive=True))}


def _readable(table: DeltaTable, versions: Iterable[int]) -> Iterator[int]:
    """Those of the versions that exist: a data set may be older than a lake that was put back from a copy."""
    for version in versions:
        try:
            yield DeltaTable(table.table_uri, version=version).version()
        except DeltaError:
            continue


def _young(table: DeltaTable, now: datetime, keep_days: int, last: int) -> Iterator[int]:
    """Yield versions that together have all files of the newest version `keep_days` ago and of those that came later.

    Only some operations take files away: the version right before each has all there were. Commits are dated by their
    writers' clocks, which may be wrong: none came before an earlier one or after `now`, and those after `last` are of
    this compaction. Delta's own retention, by the clock of this process, deletes no file of a kept version.
    """
    today, commits = now.timestamp() * 1000, sorted(table.history(), key=lambda commit: commit["version"])
    stamps = (commit["timestamp"] if commit["version"] <= last else today for commit in commits)
    moments = [min(moment, today) for moment in accumulate(stamps, max)]
    then = today - keep_days * _DAY_MS
    older = [commit["version"] for commit, moment in zip(commits, moments, strict=True) if moment <= then]
    yield from older[-1:]
    for commit in commits[len(older) :]:
        if commit["version"] > 0 and commit.get("operation") not in _KEEPS_FILES:
            yield commit["version"] - 1
