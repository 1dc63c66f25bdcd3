"""Describes errors in a file without its values, because rows hold ids, names and addresses."""

import csv
import re
from collections.abc import Callable
from typing import Final

_COLUMN: Final = re.compile(r"In (?:CSV )?column #?(\d+): ")
_ROW: Final = re.compile(r"Row #(\d+): ")
# Messages of Arrow, zlib and Python, which have no error codes.
_SIGNS: Final = (
    (r"Expected (\d+) columns, got (\d+)", r"it has \2 values, and the first line names \1 columns"),
    (r"[Ii]nvalid UTF-?8|codec can't", "a value is not UTF-8"),
    (r"conversion error to double", "a value is not a number"),
    (r"field larger than field limit", "a value is longer than 8 MiB"),
    (r"block boundaries", "a row is longer than 8 MiB"),
    (r"Empty CSV file", "it is empty"),
    (r"not a gzip|incorrect header check|Not a gzipped", "it is not compressed with gzip, as its name says"),
    (r"zlib|inflat|ompressed|CRC|length of data", "its compressed data are damaged or end too soon"),
    (r"[Pp]arquet|thrift|page|footer|dictionary|levels", "it is not a Parquet file, or it is damaged"),
)


def described(error: Exception, names: list[str] | None = None, line_of: Callable[[int], int] | None = None) -> str:
    """Return the column, the line and the kind of an error. `names` are the file's columns, all in the mapping.

    `line_of` returns the line of a row; without it the row is named. Unknown messages of a library are left out,
    because they may quote an unreadable value.
    """
    text = str(error)
    column, row = _COLUMN.search(text), _ROW.search(text)
    place = []
    if column:
        place.append(f"column {names[int(column[1])]!r}" if names else f"column {int(column[1]) + 1}")
    if row:
        place.append(f"line {line_of(int(row[1]))}" if line_of else f"row {row[1]}")
    return ": ".join(filter(None, [", ".join(place), _kind(error, text)]))


def _kind(error: Exception, text: str) -> str:
    for sign, kind in _SIGNS:
        match = re.search(sign, text)
        if match:
            return match.expand(kind)
    if isinstance(error, csv.Error):  # describes the text around the separator in general, without a value
        return text
    if isinstance(error, OSError) and error.strerror and error.errno:
        return error.strerror
    return f"it cannot be parsed ({type(error).__name__})"
