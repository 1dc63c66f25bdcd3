"""Describes why a file cannot be read: it is of another kind, by its first bytes, or a library reports an error.

Descriptions hold no values, because rows hold ids, names and addresses.
"""

import codecs
import csv
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from models.errors import TailorbirdError

_HEAD: Final = 8192
_CONTROL: Final = bytes({*range(1, 9), *range(14, 27), *range(28, 32), 127})
"""Characters that are rare in texts. Null is not one of them, because UTF-16 has it."""
_MANY: Final = 0.02
_EXCEL: Final = ("an Excel workbook", "Export each sheet that you need to CSV")
_ARCHIVE: Final = ("an archive", "Unpack it, and give the files in it")
_IMAGE: Final = ("an image", "Give a CSV or Parquet file")
_GZIP: Final = ("compressed with gzip", "Let its name end with .csv.gz")
_JSON: Final = (
    "JSON",
    "Let its name end with .json. Exports of Segment and Mixpanel have mappings: `tailorbird check segment a.jsonl`",
)
_TEXT: Final = ("a text", "Let its name end with .csv if it is CSV")
_PARQUET: Final = b"PAR1"
_KINDS: Final = (
    (_PARQUET, ("a Parquet file", "Let its name end with .parquet")),
    (b"\x1f\x8b", _GZIP),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ("an old Office file, such as an Excel workbook (.xls)", _EXCEL[1])),
    (b"%PDF-", ("a PDF", "Give a CSV or Parquet file")),
    (b"SQLite format 3\0", ("an SQLite database", "Export its tables to CSV")),
    (b"\x89PNG", _IMAGE),
    (b"\xff\xd8\xff", _IMAGE),
    (b"GIF8", _IMAGE),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!", _ARCHIVE),
    (b"BZh", _ARCHIVE),
    (b"\xfd7zXZ", _ARCHIVE),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE),
)


def binary_kind(path: Path) -> tuple[str, str] | None:
    """Return the kind of a file that is not text, with advice; None for texts and unreadable files."""
    try:
        return _binary_kind(path, _head(path))
    except OSError:
        return None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _binary_kind(path: Path, head: bytes) -> tuple[str, str] | None:
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path)
    for beginning, kind in _KINDS:
        if head.startswith(beginning):
            return kind
    return None if _is_text(head) else ("no text and no table", "Give a CSV or Parquet file")


def _is_text(head: bytes) -> bool:
    odd = len(head) - len(head.translate(None, _CONTROL))
    if odd <= _MANY * len(head) or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
    except UnicodeDecodeError:
        return False
    return True


def refuse_binary(path: Path) -> None:
    """Raise TailorbirdError with advice if a file that should be CSV is not text."""
    kind = binary_kind(path)
    if kind is None or (kind is _GZIP and path.name.lower().endswith(".gz")):
        return
    raise TailorbirdError(f"{path} cannot be read: it is {kind[0]}, and no CSV file. {kind[1]}. Nothing was stored.")


def refuse_no_parquet(path: Path) -> None:
    """Raise TailorbirdError with advice if a file that should be Parquet is of another kind."""
    head = _head(path)
    if head.startswith(_PARQUET):
        return
    kind, advice = _binary_kind(path, head) or _text_kind(head)
    raise TailorbirdError(f"{path} cannot be read: it is {kind}, and no Parquet file. {advice}. Nothing was stored.")


def _text_kind(head: bytes) -> tuple[str, str]:
    if not head:
        return ("empty", "Export it again")
    return _JSON if head.lstrip().startswith((b"{", b"[")) else _TEXT


def _zipped(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return _ARCHIVE
    sheets = any(name.startswith("xl/") for name in names) or "content.xml" in names
    return ("a spreadsheet", _EXCEL[1]) if sheets else _ARCHIVE


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
