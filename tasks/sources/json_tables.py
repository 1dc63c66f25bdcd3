"""Reads JSON files as tables of texts: a list of objects, an object around one list, or one object per line."""

import json
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from models.errors import TailorbirdError
from models.ingest.text_files import UTF_8
from models.primitives.json_types import JsonObject
from tasks.sources.file_faults import described
from tasks.sources.line_reader import open_bytes
from tasks.sources.locations import JSON

_MOST_BYTES: Final = 256 << 20
"""The largest file, unpacked: it is read as a whole."""


def is_json(path: Path) -> bool:
    """Return whether a file is read as JSON, by the end of its name."""
    return path.name.lower().endswith(JSON)


def table(path: Path, unnest: str | None) -> pa.Table:
    """Return the objects of a file as rows, in order: with `unnest`, each element of that list is a row.

    Fields of objects within each other are columns such as `image.src`. Of a list of objects the first one counts;
    other lists are texts, separated by commas. Raises TailorbirdError if the file cannot be read.
    """
    stamp = path.stat()
    return _table(path, stamp.st_mtime_ns, stamp.st_size, unnest)


def only_list(path: Path) -> str | None:
    """Return the list to unnest of a file with one object: its only list of several objects, None without one."""
    records = table(path, None).num_rows == 1 and _records(path)
    lists = [name for name, value in records[0].items() if _is_rows(value)] if records else []
    return lists[0] if len(lists) == 1 else None


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(one, dict) for one in value)


@lru_cache(maxsize=2)
def _table(path: Path, _changed: int, _size: int, unnest: str | None) -> pa.Table:
    try:
        rows = [row for record in _records(path) for row in _rows(record, unnest)]
        names = dict.fromkeys(name for row in rows for name in row)
        return pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})
    except RecursionError:
        raise _refusal(path, "its values are nested too deeply") from None
    except UnicodeError:
        raise _refusal(path, f"it is not {UTF_8.upper()}") from None
    except json.JSONDecodeError as error:
        raise _refusal(path, f"line {error.lineno}: {error.msg}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise _refusal(path, described(error)) from None


def _records(path: Path) -> list[JsonObject]:
    with open_bytes(path) as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise _refusal(path, f"it has more than {_MOST_BYTES >> 20:,} MiB; export it in parts, or as CSV")
    content = _parsed(text.decode("utf-8-sig"))
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == len(content) == 1 else [content]
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise _refusal(path, "a list of objects is expected, or an object on each line")
    return content


def _parsed(text: str) -> Any:
    """Return the value of a text: numbers stay as they are written. Several lines may have an object each."""
    decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
    records = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            records += [decoder.decode(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise json.JSONDecodeError(error.msg, "\n" * (number - 1) + line, number - 1 + error.pos) from None
    return records


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
