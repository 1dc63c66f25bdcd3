"""Parquet and CSV files, read in bounded chunks."""

import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from expectations.contract import Kind
from models.errors import TailorbirdError

CHUNK_ROWS = 250_000
_PACKAGE = "package:"


def locate(location: str, file: str) -> Path:
    """The file in a folder, or in an installed package (`package:name/folder`)."""
    folder = Path(location)
    if location.startswith(_PACKAGE):
        package, _, inside = location.removeprefix(_PACKAGE).partition("/")
        try:
            folder = Path(str(files(package))) / inside
        except ModuleNotFoundError:
            raise TailorbirdError(
                f"The data comes from the Python package {package!r}, which is not installed here. "
                "Install Tailorbird with its demo data: pip install 'tailorbird[demo]'."
            ) from None
    path = folder / file
    if not path.is_file():
        raise TailorbirdError(f"There is no file {path}. Check the mapping's `location` and `file`.")
    return path


def digest(path: Path) -> str:
    """SHA-256 of the file's content: the same file is the same batch, wherever it lies."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(path: Path) -> ds.Dataset:
    try:
        return ds.dataset(path, format="csv" if path.suffix == ".csv" else "parquet")
    except (pa.ArrowInvalid, OSError) as error:
        raise TailorbirdError(f"{path} cannot be read: {error}. Nothing was stored.") from error


def _kind(kind: pa.DataType) -> Kind:
    if pa.types.is_timestamp(kind):
        return "time"
    numeric = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal)
    return "number" if any(is_it(kind) for is_it in numeric) else "any"


def column_kinds(path: Path) -> Mapping[str, Kind]:
    """Which columns the file has, and what they hold."""
    return {field.name: _kind(field.type) for field in _open(path).schema}


def row_count(path: Path) -> int:
    """How many rows the file has; from the footer where it says so."""
    return int(_open(path).count_rows())


def chunks(path: Path, columns: list[str], size: int = CHUNK_ROWS) -> Iterator[pa.Table]:
    """The rows of a file in order, `size` at a time: the same file always gives the same chunks."""
    pending: list[pa.RecordBatch] = []
    waiting = 0
    for batch in _open(path).to_batches(columns=columns, batch_size=size):
        while batch.num_rows:
            part = batch.slice(0, size - waiting)
            batch = batch.slice(part.num_rows)
            pending.append(part)
            waiting += part.num_rows
            if waiting == size:
                yield pa.Table.from_batches(pending).combine_chunks()
                pending, waiting = [], 0
    if pending:
        yield pa.Table.from_batches(pending).combine_chunks()
