"""Drafts a mapping from some files: reads samples, guesses their columns, and validates the text."""

import csv as standard
import os
import tomllib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from io import StringIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import TailorbirdError
from models.ingest.draft.document import Draft, draft
from models.ingest.draft.mapping_text import toml
from models.ingest.draft.samples import Sample
from models.ingest.tabular.table_mapping import Mapping
from models.ingest.text_files import guessed, likely_separator, lines_above_header
from tasks.sources import json_tables
from tasks.sources.csv_reader import BLOCK_BYTES, is_csv, refuse_many_columns
from tasks.sources.file_faults import described, refuse_binary, refuse_no_parquet
from tasks.sources.json_tables import is_json
from tasks.sources.line_reader import open_bytes
from tasks.sources.locations import TABLES, fetched, find

_HEAD_BYTES: Final = 16 << 20
_HEAD_ROWS: Final = 20_000
_MOST_ROWS: Final = 200_000
_EVERY: Final = 40
"""After the head every 40th row is read."""
_SNIFFED_LINES: Final = 200


def draft_mapping(paths: Sequence[str], name: str, consent: str | None = None, note: str | None = None) -> Draft:
    """Return a mapping that reads the files at these paths. Raises TailorbirdError if none can be guessed."""
    files = find(paths, TABLES)
    folders = {os.path.dirname(file) for file in files}  # noqa: PTH120 -- a file may be an address
    location = folders.pop() if len(folders) == 1 else None
    with TemporaryDirectory(prefix="tailorbird-init-") as room:
        samples = list(_merged(_sample(file, Path(room)) for file in files))
    drafted = draft(name, samples, location, consent or "opt-in", note or "")
    if drafted.parts:
        Mapping.parse(tomllib.loads(drafted.text), name)
    return drafted


def write_mapping(text: str, target: Path) -> None:
    """Write a new file. Raises TailorbirdError if it exists, because it may hold a user's work."""
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise TailorbirdError(f"{target} is there already and stays as it is. Name another with --to.") from None


def _merged(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Yield one sample for all files with the same columns and format."""
    alike: dict[tuple[object, ...], list[Sample]] = {}
    for one in samples:
        form = (one.separator, one.encoding, one.skip_lines, one.unnest)
        alike.setdefault((*one.rows.schema.names, *form), []).append(one)
    for group in alike.values():
        rows = pa.concat_tables([one.rows for one in group], promote_options="permissive")
        files = tuple(dict.fromkeys(file for one in group for file in one.files))
        yield replace(group[0], files=files, rows=rows)


def _sample(file: str, room: Path) -> Sample:
    try:
        with fetched(file, room) as path:
            if is_json(path):
                unnest = json_tables.only_list(path)
                return Sample((path.name,), json_tables.table(path, unnest).rows.slice(0, _HEAD_ROWS), unnest=unnest)
            refuse_binary(path) if is_csv(path) else refuse_no_parquet(path)
            return _csv_sample(path) if is_csv(path) else _parquet_sample(path)
    except (OSError, EOFError, zlib.error, pa.ArrowInvalid, standard.Error) as error:
        raise TailorbirdError(f"{file} cannot be read: {described(error)}. Fix the file, or leave it out.") from None


def _parquet_sample(path: Path) -> Sample:
    with pq.ParquetFile(path) as file:
        refuse_many_columns(path, len(file.schema_arrow))
        batches = list(islice(file.iter_batches(_HEAD_ROWS), 1))
    rows = pa.Table.from_batches(batches, batches[0].schema if batches else None)
    plain = [field.name for field in rows.schema if not pa.types.is_nested(field.type)]
    return Sample((path.name,), _plain(rows.select(plain)))


def _plain(rows: pa.Table) -> pa.Table:
    """Decode dictionary columns into their values."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(place, field.name, rows[field.name].cast(field.type.value_type))
    return rows


def _csv_sample(path: Path) -> Sample:
    standard.field_size_limit(BLOCK_BYTES)
    text, encoding, note = _decoded(_head(path))
    beginning = list(islice(StringIO(text, newline=""), _SNIFFED_LINES))
    separator = likely_separator(beginning)
    above = lines_above_header(beginning, separator)
    reader = standard.reader(islice(StringIO(text, newline=""), above, None), delimiter=separator)
    names = next(filter(None, reader), [])
    if not names:
        raise TailorbirdError(
            f"{path} is empty: its first line has to name the columns. Fix the file, or leave it out."
        )
    refuse_many_columns(path, len(names))
    if len(set(names)) < len(names):
        raise TailorbirdError(f"{path} names a column twice in line {above + 1}. Fix the file, or leave it out.")
    lines = (row for row in islice(reader, _MOST_ROWS) if len(row) == len(names))
    rows = [row for number, row in enumerate(lines) if number < _HEAD_ROWS or number % _EVERY == 0]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    table = pa.table({name: pa.array(cells, pa.string()) for name, cells in zip(names, columns, strict=True)})
    return Sample((path.name,), table, separator=separator, encoding=encoding, encoding_note=note, skip_lines=above)


def _head(path: Path) -> bytes:
    """Return the beginning of a file, up to the end of a line."""
    with open_bytes(path) as file:
        head = file.read(_HEAD_BYTES)
    return head if len(head) < _HEAD_BYTES else head[: head.rfind(b"\n") + 1]


def _decoded(head: bytes) -> tuple[str, str, str]:
    """Return the text, its encoding and a note on a guess: by its byte order mark, as UTF-8, or else by its letters."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", errors="replace"), "utf-16", ""
    try:
        return head.decode("utf-8-sig"), "utf-8", ""
    except UnicodeDecodeError:
        guess = guessed(head)
    encoding = guess.encoding if guess else "windows-1252"
    others = [f"{toml(one)} ({guess.read(one)})" for one in guess.others] if guess else []
    note = f"guessed: {guess.read(encoding)}; or {' or '.join(others)}" if guess and others else ""
    return head.decode(encoding, errors="replace"), encoding, note
