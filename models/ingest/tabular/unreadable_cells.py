"""Cells of a table that cannot be read as their mapping says: what quarantine and messages show of them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.currencies import CODES, NAMES
from models.ingest.tabular.numbers import SPACES

KEYS: Final = "unreadable_keys"
"""The column of a chunk that names the keys whose unreadable cells refuse a row, as `|price|url|`; else null."""
CELLS: Final = "unreadable"
"""The column of a chunk that describes a row's unreadable cells: a list of `CELL`, null where there are none."""
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
    """Cells of the column that hold something."""
    ways: Mapping[str, int] = field(default_factory=dict)
    """Settings that would read more, as a sentence has them, and how many cells each would read."""
    places: tuple[int, ...] = ()
    """Where the first of them are."""
    numbered: str = "row"
    """What `places` are: a line as an editor shows it, or a row."""

    @property
    def rule(self) -> str:
        """The rule that a row with such a cell breaks."""
        return f"{self.key}_unreadable"

    @property
    def better(self) -> dict[str, int]:
        """The settings that would read more cells than are read now."""
        return {way: reads for way, reads in self.ways.items() if reads > self.of - self.count}

    @property
    def suggestion(self) -> str | None:
        """The settings that would read most."""
        if self.better:
            named, most = _most(self.better)
            return f"{named} would read {most:,} of {self.of:,}"
        if self.kind == STOCK:
            return "state what its words mean in `available_words`"
        return None

    @property
    def sentence(self) -> str:
        """Say how many cells are unreadable, where the first of them are, and what would read them."""
        what = f"{self.count:,} of {self.of:,} values of {self.column!r} ({self.key})"
        article = "an" if self.kind == STOCK else "a"
        help_ = f"; {self.suggestion}" if self.suggestion else ""
        return f"{what} cannot be read as {article} {self.kind}{self._where}{help_}."

    @property
    def _where(self) -> str:
        if not self.places:
            return ""
        numbers = ", ".join(map(str, self.places))
        more = " and more" if self.count > len(self.places) else ""
        return f" ({self.numbered}{'s' if len(self.places) > 1 else ''} {numbers}{more})"


_FIELDS: Final = frozenset(one.name for one in fields(UnreadableCells))
"""What a profile keeps of an `Unread`; one of an earlier version may hold more."""


def unreadable_profile(found: Iterable[UnreadableCells], rows: pa.Table, numbers: Any, numbered: str) -> dict[str, Any]:
    """Return what the profile of a chunk keeps of unreadable cells, by key and column.

    `numbers` are those of the rows, as lines or as rows (`numbered`) of their file.
    """
    kept = {}
    hits = pc.is_valid(rows[CELLS])
    cells, numbers = pc.filter(rows[CELLS], hits).to_pylist(), pc.filter(numbers, hits)
    for one in found:
        mine = pa.array([any((cell["key"], cell["column"]) == (one.key, one.column) for cell in row) for row in cells])
        first = numbers.filter(mine.cast(pa.bool_()))[:MOST_PLACES].to_pylist()
        kept[f"{one.key} {one.column}"] = {
            **asdict(one),
            "ways": dict(one.ways),
            "places": first,
            "numbered": numbered,
        }
    return kept


def cells_of(rows: pa.Table, key: str) -> list[str]:
    """Return the unreadable cells of a key as they are written."""
    described = rows[CELLS].drop_null().to_pylist()
    return [cell["value"] for row in described for cell in row if cell["key"] == key]


def merge_unreadable(profiles: Iterable[Mapping[str, Any]]) -> list[UnreadableCells]:
    """Return the unreadable cells of several chunks, by key and column."""
    sums: dict[str, UnreadableCells] = {}
    for profile in profiles:
        for key, kept in profile.items():
            one = UnreadableCells(
                **{name: kept[name] for name in _FIELDS & kept.keys()} | {"places": tuple(kept["places"])}
            )
            sums[key] = _added(sums[key], one) if key in sums else one
    return list(sums.values())


def _added(before: UnreadableCells, one: UnreadableCells) -> UnreadableCells:
    places = (*before.places, *one.places)[:MOST_PLACES]
    ways = _sums(before.ways, one.ways)
    return replace(before, count=before.count + one.count, of=before.of + one.of, ways=ways, places=places)


def _sums(some: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    return {name: some.get(name, 0) + others.get(name, 0) for name in {**some, **others}}


def _most(counts: Mapping[str, int]) -> tuple[str, int]:
    """Return the names with the highest count, and the count."""
    most = max(counts.values())
    return " or ".join(name for name, count in counts.items() if count == most), most


def protected(cells: Any, ids: pa.Array) -> Any:
    """Return the unreadable cells of rows as quarantine keeps them; none of them shows one of these `ids`."""
    if cells.null_count == len(cells):
        return cells
    rows = cells.to_pylist()
    values = {cell["value"] for row in rows if row for cell in row}
    known = pa.array(sorted(values), pa.string())
    persons = frozenset(known.filter(pc.is_in(known, value_set=ids.cast(pa.string()))).to_pylist())
    kept = {value: shown(value, persons) for value in values}
    for row in rows:
        for cell in row or ():
            cell["value"] = kept[cell["value"]]
    return pa.array(rows, pa.list_(CELL))


def shown(value: str, ids: frozenset[str] = frozenset()) -> str:
    """Return a cell as quarantine keeps it: as written if it is a number, a date or a sign, else only its shape.

    In a shape letters are a or A and digits are 9, since a cell in a wrong column may be an id, a name or an address.
    """
    if value not in ids and (_is_sign(value) or _is_date(value) or _is_amount(value)):
        return value[:_LONGEST]
    return shape(value, _LONGEST)


def shape(text: str, longest: int = _LONGEST_LINE) -> str:
    """Return a text with a or A for letters and 9 for digits: the separators of a line stay as they are."""
    return "".join(map(_shape, text[:longest])) + ("…" if len(text) > longest else "")


def _is_sign(value: str) -> bool:
    return len(value) <= 3 and not any(sign.isalnum() for sign in value)


def _is_date(value: str) -> bool:
    return _DATE.fullmatch(value.strip()) is not None


def _is_amount(value: str) -> bool:
    """Whether it is a number with a decimal sign, groups or a currency, and no bare row of digits."""
    found = _NUMBER.search(value)
    if found is None:
        return False
    number = found[0].strip(SPACES)
    written = _WRITTEN.fullmatch(number)
    named = [part for part in (side.strip(SPACES + "+-") for side in value.split(number, 1)) if part]
    if written is None or any(part.upper() not in CODES and part.upper() not in NAMES for part in named):
        return False
    group, decimal = written["group"], written["decimal"]
    digits = sum(sign.isdigit() for sign in number)
    return (
        bool(named or group or decimal)
        and (group is None or group != decimal)
        and digits <= (12 if decimal else _MOST_DIGITS)
    )


def _shape(sign: str) -> str:
    if sign.isdigit():
        return "9"
    if sign.isalpha():
        return "A" if sign.isupper() else "a"
    return sign if sign.isprintable() else " "
