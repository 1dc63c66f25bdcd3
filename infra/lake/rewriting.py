"""Rewrites a Delta table by a function of its rows, and deletes what earlier versions hold."""

import re
from collections.abc import Callable, Iterator
from typing import Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, PyFileSystem

from models import columns

Change = Callable[[pa.Table], pa.Table]
"""A function that changes or drops rows, and keeps their columns."""
_BATCH_ROWS: Final = 100_000


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
    """Delete all files, versions and logs that the newest version does not need. Marks of transactions stay."""
    table.update_incremental()
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
    table.create_checkpoint()
    folder = PyFileSystem(DeltaStorageHandler(table.table_uri))
    # Logs contain the smallest and the largest value of each column in each file.
    for file in folder.get_file_info(FileSelector("_delta_log")):
        version = re.match(r"\d{20}(?=\.)", file.base_name)
        if version and int(version.group()) < table.version():
            folder.delete_file(file.path)


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
