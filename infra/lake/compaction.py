"""Rewrites tables of the lake: merges small files, changes or drops rows, and deletes files that no version needs."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from math import ceil
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, PyFileSystem
from sqlalchemy import Engine, Integer, select

from infra.database.schema.schema import datasets
from models import columns
from models.errors import TailorbirdError

KEEP_LOG: Final = {"delta.logRetentionDuration": "interval 36500 days"}
"""By default Delta drops the log of a version after 30 days; data sets name versions as long as they exist."""

ADVISED_FROM: Final = 200
"""Number of small files; each costs every reader a few milliseconds, and merging them rewrites their months."""
_FILE_BYTES: Final = 100 * 2**20
"""Delta merges files up to this size."""
_DAY_MS: Final = 86_400_000
_ADDS_ONLY: Final = ("WRITE", "VACUUM START", "VACUUM END")
"""Operations that remove no file from the table."""
Change = Callable[[pa.Table], pa.Table]
"""A function that changes or drops rows, and keeps their columns."""
_BATCH_ROWS: Final = 100_000
_LOG: Final = re.compile(r"_delta_log/(\d{20})\.")


@dataclass(frozen=True)
class Totals:
    """Files, rows and bytes of some months."""

    files: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class MonthFiles(Totals):
    """Files, rows and bytes of one month."""

    month: str


@dataclass(frozen=True)
class CompactionReport:
    """The events table before and after a compaction."""

    version: int
    rows: int
    files_before: int
    files: int
    bytes_before: int
    bytes: int
    files_deleted: int
    seconds: float


def dataset_versions(engine: Engine) -> list[int]:
    """Return the versions of the events table that data sets were built from."""
    version = datasets.c.manifest["events_version"].astext.cast(Integer)
    with engine.connect() as connection:
        return list(connection.execute(select(version).distinct().order_by(version)).scalars())


def months(table: DeltaTable) -> list[MonthFiles]:
    """Return the files, rows and bytes of each month in the newest version."""
    files = pa.table(table.get_add_actions(flatten=True)).rename_columns({f"partition.{columns.MONTH}": columns.MONTH})
    sums = files.group_by(columns.MONTH).aggregate([([], "count_all"), ("num_records", "sum"), ("size_bytes", "sum")])
    return [
        MonthFiles(row["count_all"], row["num_records_sum"], row["size_bytes_sum"], row[columns.MONTH])
        for row in sums.sort_by(columns.MONTH).to_pylist()
    ]


def total(by_month: Iterable[MonthFiles]) -> Totals:
    """Return the sums over several months."""
    rows = list(by_month)
    return Totals(sum(row.files for row in rows), sum(row.rows for row in rows), sum(row.bytes for row in rows))


def advice(by_month: Iterable[MonthFiles]) -> str | None:
    """Return the reason to compact these months, or None if they are quick to read."""
    saved = sum(max(0, row.files - ceil(row.bytes / _FILE_BYTES)) for row in by_month)
    if saved < ADVISED_FROM:
        return None
    return f"The lake has {saved:,} small files that slow reading down. Merge them: tailorbird lake compact"


def compact(table: DeltaTable, now: datetime, keep_days: int, versions: Iterable[int]) -> CompactionReport:
    """Merge small files and delete those that only versions older than `keep_days` need, except the given `versions`.

    Call it while nothing is written. `now` is the database's time. Delta checks that merging changes no row. The
    number of rows is checked again before anything is deleted.
    """
    began, before, last = time.monotonic(), total(months(table)), table.version()
    if not KEEP_LOG.items() <= table.metadata().configuration.items():
        table.alter.set_table_properties(KEEP_LOG)
    table.optimize.compact()
    after = total(months(table))
    if after.rows != before.rows:
        raise TailorbirdError(
            f"Compacting the lake went wrong: {before.rows} rows before, {after.rows} now. Nothing was deleted; keep a "
            "copy of the lake."
        )
    deleted = _delete(table, keep_days, {*_readable(table, versions), *_young(table, now, keep_days, last)})
    table.create_checkpoint()
    return CompactionReport(
        version=table.version(),
        rows=after.rows,
        files_before=before.files,
        files=after.files,
        bytes_before=before.bytes,
        bytes=after.bytes,
        files_deleted=deleted,
        seconds=round(time.monotonic() - began, 1),
    )


def _delete(table: DeltaTable, keep_days: int, kept_versions: Iterable[int]) -> int:
    """Delete the files that no kept version needs, and those that killed writers left; return their number."""
    options: dict[str, Any] = {"retention_hours": 24 * keep_days, "enforce_retention_duration": False, "full": True}
    options["keep_versions"] = sorted(kept_versions)
    unneeded = set(table.vacuum(dry_run=True, **options)) & _existing_files(table)
    if unneeded:  # each round is two commits
        table.vacuum(dry_run=False, **options)
    return len(unneeded)


def _existing_files(table: DeltaTable) -> set[str]:
    """Return the paths in the table's folder: Delta also lists files that it deleted earlier."""
    folder = PyFileSystem(DeltaStorageHandler(table.table_uri))
    return {file.path for file in folder.get_file_info(FileSelector("", recursive=True))}


def _readable(table: DeltaTable, versions: Iterable[int]) -> Iterator[int]:
    """Yield the versions that exist: a data set may be older than a lake that was restored from a copy."""
    for version in versions:
        try:
            yield DeltaTable(table.table_uri, version=version).version()
        except DeltaError:
            continue


def _young(table: DeltaTable, now: datetime, keep_days: int, last: int) -> Iterator[int]:
    """Yield versions that together have all files of the version `keep_days` ago and of the later ones.

    Only some operations remove files: the version right before each has all earlier files. Commits carry the time of
    their writers' clocks, which may be wrong. So no commit counts as older than an earlier one, or as newer than
    `now`. Commits after `last` belong to this compaction. Delta's own retention, by this process's clock, keeps these
    versions.
    """
    today, commits = now.timestamp() * 1000, sorted(table.history(), key=lambda commit: commit["version"])
    stamps = (commit["timestamp"] if commit["version"] <= last else today for commit in commits)
    moments = [min(moment, today) for moment in accumulate(stamps, max)]
    then = today - keep_days * _DAY_MS
    older = [commit["version"] for commit, moment in zip(commits, moments, strict=True) if moment <= then]
    yield from older[-1:]
    for commit in commits[len(older) :]:
        if commit["version"] > 0 and commit.get("operation") not in _ADDS_ONLY:
            yield commit["version"] - 1


def rewrite(
    table: DeltaTable, change: Change, written: WriterProperties, mark: str, number: int, month: str | None = None
) -> None:
    """Change all rows, or those of one month, in one commit that also sets the mark. Rows stream through memory."""
    write_deltalake(
        table,
        _changed(table, change, month),
        mode="overwrite",
        writer_properties=written,
        commit_properties=CommitProperties(app_transactions=[Transaction(mark, number)]),
        predicate=f"{columns.MONTH} = '{month}'" if month else None,
    )


def purge(table: DeltaTable) -> None:
    """Delete all files, versions and logs that the newest version does not need. Marks of transactions stay.

    Delta's own `vacuum` keeps what a file system or a commit dates later than this clock, which may have been set back.
    """
    table.update_incremental()
    table.create_checkpoint()
    needed = set(map(unquote, pa.table(table.get_add_actions())["path"].to_pylist()))
    folder = PyFileSystem(DeltaStorageHandler(table.table_uri))
    for path in _existing_files(table):
        log = _LOG.match(path)
        # Logs contain the smallest and the largest value of each column in each file.
        if int(log.group(1)) < table.version() if log else path.endswith(".parquet") and unquote(path) not in needed:
            folder.delete_file(path)


def _changed(table: DeltaTable, change: Change, month: str | None) -> pa.RecordBatchReader:
    rows = table.to_pyarrow_dataset(file_pruning_predicate=[(columns.MONTH, "=", month)] if month else None)
    schema = pa.schema([pa.field(field.name, _plain_type(field.type)) for field in rows.schema])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows.to_batches(batch_size=_BATCH_ROWS, batch_readahead=2, fragment_readahead=1):
            yield from (
                change(pa.Table.from_batches([batch]).cast(schema)).select(schema.names).cast(schema).to_batches()
            )

    return pa.RecordBatchReader.from_batches(schema, batches())


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
