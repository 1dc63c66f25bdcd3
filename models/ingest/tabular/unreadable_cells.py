"""Describe cells of a table that a mapping cannot read, for quarantine and messages."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.currencies import CODES, NAMES
from models.ingest.tabular.numbers import SPACES
from models.primitives.arrow_types import ArrowColumn

KEYS: Final = "unreadable_keys"
"""The column of a chunk that lists the keys whose unreadable cells refuse a row, as `|price|url|`; else null."""
CELLS: Final = "unreadable"
"""The column of a chunk that describes a row's unreadable cells: a list of `CELL`, null if there are none."""
CELL: Final = pa.struct({"key": pa.string(), "column": pa.string(), "value": pa.string(), "suggestion": pa.string()})

NUMBER, TIME, STOCK, ADDRESS = "number", "time", "answer", "web address"
MOST_PLACES: Final = 3
_LONGEST: Final = 40
_LONGEST_LINE: Final = 200
_MOST_DIGITS: Final = 7
"""A number of more digits without a decimal part may be a phone number or the id of a person."""
_NUMBER: Final = re.compile(rf"[+-]?\d[\d.,'\u2019{SPACES}]*")
_WRITTEN: Final = re.compile(
    rf"[+-]?(?:\d{{1,3}}(?P<group>[.,'\u2019{SPACES}])\d{{3}}(?:(?P=group)\d{{3}})*|\d+)(?:(?P<decimal>[.,])\d{{1,6}})?"
)
_DATE: Final = re.compile(
    r"(?:\d{1,2}([./-]) ?\d{1,2}\1 ?(?:\d{4}|\d{2})|\d{4}([./-])\d{1,2}\2\d{1,2})"
    r"(?:[ T,]+\d{1,2}[:.]\d{1,2}(?:[:.]\d{1,2}(?:[.,]\d{1,9})?)?)?(?: ?[APap][Mm])?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
)


@dataclass(frozen=True)
class UnreadableCells:
    """The unreadable cells of one key in some rows."""

    key: str
    column: str
    kind: str
    count: int
    of: int
    """Number of cells of the column that are not empty."""
    ways: Mapping[str, int] = field(default_factory=dict)
    """Settings that would read more, as text for a sentence, and the number of cells that each would read."""
    places: tuple[int, ...] = ()
    """Positions of the first of them."""
    numbered: str = "row"
    """The unit of `places`: a line as an editor shows it, or a row."""

    @property
    def rule(self) -> str:
        """Return the rule that a row with such a cell breaks."""
        return f"{self.key}_unreadable"

    @property
    def better(self) -> dict[str, int]:
        """Return the settings that would read more cells than the present ones."""
        return {way: reads for way, reads in self.ways.items() if reads > self.of - self.count}

    @property
    def suggestion(self) -> str | None:
        """Return the settings that would read most cells."""
        if self.better:
            most = max(self.better.values())
            settings = " or ".join(way for way, reads in self.better.items() if reads == most)
            return f"{settings} would read {most:,} of {self.of:,}"
        if self.kind == STOCK:
            return "state what its words mean in `available_words`"
        return None

    @property
    def sentence(self) -> str:
        """Return a sentence with the number of unreadable cells, the first places, and a suggestion."""
        subject = f"{self.count:,} of {self.of:,} values of {self.column!r} ({self.key})"
        article = "an" if self.kind == STOCK else "a"
        help_ = f"; {self.suggestion}" if self.suggestion else ""
        return f"{subject} cannot be read as {article} {self.kind}{self._where}{help_}."

    @property
    def _where(self) -> str:
        if not self.places:
            return ""
        numbers = ", ".join(map(str, self.places))
        more = " and more" if self.count > len(self.places) else ""
        return f" ({self.numbered}{'s' if len(self.places) > 1 else ''} {numbers}{more})"


Profile = dict[str, dict[str, object]]
"""The unreadable cells of a chunk as JSON, by key and column."""


def unreadable_profile(
    unread: Iterable[UnreadableCells], rows: pa.Table, numbers: ArrowColumn, numbered: str
) -> Profile:
    """Return the unreadable cells for the profile of a chunk, by key and column.

    `numbers` are those of the rows, as lines or as rows (`numbered`) of their file.
    """
    profile: Profile = {}
    hits = pc.is_valid(rows[CELLS])
    cells, numbers = pc.filter(rows[CELLS], hits).to_pylist(), pc.filter(numbers, hits)
    for one in unread:
        own = pa.array([any((cell["key"], cell["column"]) == (one.key, one.column) for cell in row) for row in cells])
        first = numbers.filter(own.cast(pa.bool_()))[:MOST_PLACES].to_pylist()
        profile[f"{one.key} {one.column}"] = asdict(one) | {"places": first, "numbered": numbered}
    return profile


def cells_of(rows: pa.Table, key: str) -> list[str]:
    """Return the original texts of the unreadable cells of a key."""
    described = rows[CELLS].drop_null().to_pylist()
    return [cell["value"] for row in described for cell in row if cell["key"] == key]


def merge_unreadable(profiles: Iterable[Mapping[str, Any]]) -> list[UnreadableCells]:
    """Return the unreadable cells of several chunks, by key and column."""
    sums: dict[str, UnreadableCells] = {}
    for profile in profiles:
        for key, entry in profile.items():
            one = UnreadableCells(**entry | {"places": tuple(entry["places"])})
            sums[key] = _added(sums[key], one) if key in sums else one
    return list(sums.values())


def _added(before: UnreadableCells, one: UnreadableCells) -> UnreadableCells:
    places = (*before.places, *one.places)[:MOST_PLACES]
    ways = {way: before.ways.get(way, 0) + one.ways.get(way, 0) for way in {**before.ways, **one.ways}}
    return replace(before, count=before.count + one.count, of=before.of + one.of, ways=ways, places=places)


def protected(cells: ArrowColumn, ids: pa.Array) -> ArrowColumn:
    """Return the unreadable cells of rows in the form for quarantine, which shows none of these `ids`."""
    if cells.null_count == len(cells):
        return cells
    rows = cells.to_pylist()
    values = {cell["value"] for row in rows if row for cell in row}
    known = pa.array(sorted(values), pa.string())
    persons = frozenset(known.filter(pc.is_in(known, value_set=ids.cast(pa.string()))).to_pylist())
    forms = {value: shown(value, persons) for value in values}
    for row in rows:
        for cell in row or ():
            cell["value"] = forms[cell["value"]]
    return pa.array(rows, pa.list_(CELL))


def shown(value: str, ids: frozenset[str] = frozenset()) -> str:
    """Return a cell for quarantine: unchanged if it is a number, a date or a sign, else only its shape.

    In a shape letters are a or A and digits are 9. A cell in a wrong column may be an id, a name or an address.
    """
    is_sign = len(value) <= 3 and not any(sign.isalnum() for sign in value)
    if value not in ids and (is_sign or _DATE.fullmatch(value.strip()) or _is_amount(value)):
        return value[:_LONGEST]
    return shape(value, _LONGEST)


def shape(text: str, longest: int = _LONGEST_LINE) -> str:
    """Return a text with a or A for letters and 9 for digits: the separators of a line stay as they are."""
    return "".join(map(_shape, text[:longest])) + ("…" if len(text) > longest else "")


def _is_amount(value: str) -> bool:
    """Return whether it is a number with a decimal sign, groups or a currency, not only digits."""
    match = _NUMBER.search(value)
    if match is None:
        return False
    number = match[0].strip(SPACES)
    written = _WRITTEN.fullmatch(number)
    around = [part for part in (side.strip(SPACES + "+-") for side in value.split(number, 1)) if part]
    if written is None or any(part.upper() not in CODES and part.upper() not in NAMES for part in around):
        return False
    group, decimal = written["group"], written["decimal"]
    digits = sum(sign.isdigit() for sign in number)
    return (
        bool(around or group or decimal)
        and (group is None or group != decimal)
        and digits <= (12 if decimal else _MOST_DIGITS)
    )


def _shape(sign: str) -> str:
    if sign.isdigit():
        return "9"
    if sign.isalpha():
        return "A" if sign.isupper() else "a"
    return sign if sign.isprintable() else " "


Kind = Literal["any", "number", "time", "text", "untyped", "nested"]
"""A CSV file is `untyped`: its values have no declared type. `nested` are lists and structures."""
