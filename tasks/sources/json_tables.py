"""Reads JSON files as tables of texts: a list of objects, an object around one list, or one object per line.

Lines without a whole object among lines with one become misfit lines.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from models.errors import TailorbirdError
from models.ingest.text_files import UTF_8
from models.primitives.json_types import JsonObject
from tasks.sources.csv_reader import MOST_SHARE, MisfitLine
from tasks.sources.file_faults import described
from tasks.sources.line_reader import open_bytes
from tasks.sources.locations import JSON

_MOST_BYTES: Final = 256 << 20
"""The largest file, unpacked: it is read as a whole."""


class JsonTable(NamedTuple):
    """The rows of a file, and its lines that are no objects."""

    rows: pa.Table
    misfits: list[MisfitLine]
    fault: str
    """The line of the first misfit, and its fault."""


class _Broken(NamedTuple):
    """A line that is no object."""

    text: str
    fault: str


def is_json(path: Path) -> bool:
    """Return whether a file is read as JSON, by the end of its name."""
    return path.name.lower().endswith(JSON)


def table(path: Path, unnest: str | None) -> JsonTable:
    """Return the objects of a file as rows, in order: with `unnest`, each element of that list is a row.

    Fields of objects within each other are columns such as `image.src`. Of a list of objects the first one counts;
    other lists are texts, separated by commas. Raises TailorbirdError if the file cannot be read.
    """
    stamp = path.stat()
    return _table(path, stamp.st_mtime_ns, stamp.st_size, unnest)


def row_count(path: Path, unnest: str | None, tolerated: float) -> int:
    """Return the number of rows. Raises TailorbirdError if a larger share of lines than `tolerated` has no object."""
    rows, misfits, fault = table(path, unnest)
    if len(misfits) > tolerated * (len(rows) + len(misfits)):
        raise _refusal(path, f"{len(misfits):,} lines are no objects: {fault}" if len(misfits) > 1 else fault)
    return len(rows)


def only_list(path: Path) -> str | None:
    """Return the list to unnest of a file with one object: its only list of several objects, None without one."""
    records = _records(path) if len(table(path, None).rows) == 1 else []
    lists = [name for one in records if isinstance(one, dict) for name, value in one.items() if _is_rows(value)]
    return lists[0] if len(lists) == 1 else None


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(one, dict) for one in value)


@lru_cache(maxsize=2)
def _table(path: Path, _changed: int, _size: int, unnest: str | None) -> JsonTable:
    rows: list[dict[str, str | None]] = []
    broken: list[tuple[int, _Broken]] = []
    try:
        for record in _records(path):
            if isinstance(record, _Broken):
                broken.append((len(rows) + len(broken), record))
            else:
                rows += _rows(record, unnest)
        names = dict.fromkeys(name for row in rows for name in row)
        cells = pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})
    except RecursionError:
        raise _refusal(path, "its values are nested too deeply") from None
    except UnicodeError:
        raise _refusal(path, f"it is not {UTF_8.upper()}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise _refusal(path, described(error)) from None
    misfits = [MisfitLine(place, 0, len(names), one.text) for place, one in broken]
    return JsonTable(cells, misfits, broken[0][1].fault if broken else "")


def _records(path: Path) -> list[JsonObject | _Broken]:
    with open_bytes(path) as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise _refusal(path, f"it has more than {_MOST_BYTES >> 20:,} MiB; export it in parts, or as CSV")
    decoded = text.decode("utf-8-sig")
    decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
    try:
        content = decoder.decode(decoded)
    except json.JSONDecodeError as error:
        records = [_object(line, decoder, at) for at, line in enumerate(decoded.split("\n"), 1) if line.strip()]
        faults = [one.fault for one in records if isinstance(one, _Broken)]
        if records and len(faults) <= MOST_SHARE * len(records):
            return records
        in_lines = faults and error.msg == "Extra data"
        raise _refusal(path, faults[0] if in_lines else f"line {error.lineno}: {error.msg}") from None
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == len(content) == 1 else [content]
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise _refusal(path, "a list of objects is expected, or an object on each line")
    return content


def _object(line: str, decoder: json.JSONDecoder, number: int) -> JsonObject | _Broken:
    try:
        value = decoder.decode(line)
    except json.JSONDecodeError as error:
        return _Broken(line, f"line {number}: {error.msg}")
    return value if isinstance(value, dict) else _Broken(line, f"line {number}: it is no object")


def _rows(record: JsonObject, unnest: str | None) -> Iterator[dict[str, str | None]]:
    """Yield the rows of an object: one, or one for each element of the list; an empty list gives one row."""
    elements = record.get(unnest) if unnest else None
    own = dict(_fields({name: value for name, value in record.items() if name != unnest}))
    for element in elements if isinstance(elements, list) and elements else [{}]:
        yield own | dict(_fields({unnest: element} if unnest else {}))


def _fields(record: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for key, value in record.items():
        name = f"{prefix}{key}"
        one = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
        if isinstance(one, dict):
            yield from _fields(one, f"{name}.")
        elif isinstance(one, list):
            yield name, ", ".join(str(text) for part in one if (text := _text(part)) is not None) or None
        else:
            yield name, _text(one)


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


def _refusal(path: Path, fault: str) -> TailorbirdError:
    return TailorbirdError(f"{path} cannot be read as JSON: {fault}. Fix the file; nothing was stored.")
