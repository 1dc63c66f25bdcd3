"""Writes the published lists of a placement into a file, for tools that read no database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, text

from infra.private_files.permissions import PRIVATE
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject

_PART: Final = 50_000
"""Rows in memory at once."""
_TEXTS: Final = ("item_id", "title", "category", "brand", "currency", "reason", "url", "image")
_NUMBERS: Final = {"rank": pa.int32(), "price": pa.float64(), "score": pa.float32(), "model_version": pa.int32()}
_COLUMNS: Final = (
    *("rank", "item_id", "title", "category", "brand", "price", "currency", "score", "reason", "url", "image"),
    *("model_version", "batch_id"),
)
_VIEWS: Final = {
    "user": ("recommendations_by_user_id", "user_id"),
    "item": ("current_item_recommendations", "for_item_id"),
}
_ABOUT: Final = """
    SELECT batch.subject_kind FROM placements JOIN recommendation_batches AS batch USING (batch_id)
    WHERE placements.placement = :placement"""


def export_lists(engine: Engine, placement: str, file: Path) -> JsonObject:
    """Write a placement's lists, one row per item, in the form that the file's name ends with; return the counts.

    The rows are of one batch, without users who do not consent and items that are not sold now. The file is complete
    when it appears. Raises TailorbirdError.
    """
    if file.suffix not in (".csv", ".parquet"):
        raise TailorbirdError(f"{file.name} ends neither with .csv nor with .parquet. Choose one of them with --to.")
    with engine.connect() as connection:
        about = connection.execute(text(_ABOUT), {"placement": placement}).scalar()
        if about is None:
            raise TailorbirdError(
                f"{placement} has no published lists. `tailorbird status` names the placements; `tailorbird score` "
                "makes lists."
            )
        view, subject = _VIEWS[about]
        schema = _schema(subject)
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with _writer(draft, file.suffix, schema) as writer:
                lists, rows = _write(connection, view, subject, placement, writer, schema)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    return {"file": str(file), "lists": lists, "rows": rows}


def _write(
    connection: Connection, view: str, subject: str, placement: str, writer: Any, schema: pa.Schema
) -> tuple[int, int]:
    """Write all rows; returns the number of lists and of rows."""
    statement = text(
        f"SELECT {', '.join((subject, *_COLUMNS))} FROM {view} WHERE placement = :placement ORDER BY {subject}, rank"
    )
    lists = rows = 0
    last = None
    found = connection.execution_options(yield_per=_PART).execute(statement, {"placement": placement})
    for part in found.mappings().partitions():
        batch = pa.RecordBatch.from_pylist([dict(row) for row in part], schema)
        writer.write_batch(batch)
        for name in batch.column(subject).unique().to_pylist():
            lists += name != last
            last = name
        rows += len(batch)
    return lists, rows


def _schema(subject: str) -> pa.Schema:
    kinds = {**dict.fromkeys(_TEXTS, pa.string()), **_NUMBERS, "batch_id": pa.int64()}
    return pa.schema([(subject, pa.string()), *((name, kinds[name]) for name in _COLUMNS)])


@contextmanager
def _writer(file: Path, suffix: str, schema: pa.Schema) -> Iterator[Any]:
    """Yield a writer of a file that only its owner can read: it may hold the ids of users."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 & ~PRIVATE), "wb") as stream:
        opened = csv.CSVWriter(stream, schema) if suffix == ".csv" else pq.ParquetWriter(stream, schema)
        with opened as writer:
            yield writer
