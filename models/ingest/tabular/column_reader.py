"""Read the typed columns of a chunk, record unreadable cells, and suggest the formats that would read them.

A suggestion holds settings of a mapping, with the number of cells that each would read, and never a value of a cell.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.errors import TailorbirdError
from models.ingest.currencies import CODES, NAMES
from models.ingest.tabular import numbers as table_numbers
from models.ingest.tabular.mapping_keys import Expression, Source, column_of
from models.ingest.tabular.numbers import SPACES, NumberForm
from models.ingest.tabular.unreadable_cells import CELL, CELLS, KEYS, NUMBER, TIME, UnreadableCells
from models.ingest.tabular.values import (
    EPOCHS,
    TIMESTAMP,
    decimals,
    instants,
    is_text,
    number,
    parse_times,
    unreadable_columns,
    words,
)
from models.primitives.arrow_sql import literal, query
from models.primitives.arrow_types import ArrowColumn

_DATES: Final = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d"),
    *("%d. %m. %Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%Y%m%d"),
    *("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%a, %d %b %Y"),
)
_CLOCKS: Final = (
    *(" %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S %z", " %H.%M"),
    *("T%H:%M", "T%H:%M:%S", "T%H:%M:%S.%f", ", %H:%M", ", %H:%M:%S", ", %I:%M %p", ", %I:%M:%S %p"),
)
_COUNTED: Final = (TIMESTAMP, *EPOCHS)
_BEGINS_WITH_DATE: Final = r"^\d{4}-\d\d-\d\d"
_MAY_BE_NUMBER: Final = r"^[-+.\dEe_]+$"
"""What every text has that a counted format reads: to look is faster than to try each format."""
_FORMATS: Final = (
    *_COUNTED,
    *_DATES,
    *(f"{date}{clock}" for date in _DATES for clock in _CLOCKS),
    *("%d/%b/%Y:%H:%M:%S %z", "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%a %b %d %H:%M:%S %Y"),
)
_YEARS: Final = (1900, 2199)
"""A format that reads years outside this range does not fit."""
_COUNTED_YEARS: Final = (1995, 2199)
"""The same for seconds and parts of them since 1970: any small number is a time soon after 1970."""
_MOST_FURTHER: Final = 3
"""The largest number of formats that are added to the present ones."""
_SAMPLE_CELLS: Final = 40
"""The number of cells that decide which formats are tried on all cells."""
_MOST_CELLS: Final = 5_000
_MOST_SIGNS: Final = 3
_THOUSANDS: Final = ("", ",", ".", " ", "'", "\N{RIGHT SINGLE QUOTATION MARK}")


@dataclass(frozen=True)
class Suggestion:
    """Settings of a part of a mapping, and the number of cells of a column that they would read."""

    settings: tuple[tuple[str, Any], ...]
    """Keys and values as in a mapping file."""
    reads: int
    of: int

    @property
    def text(self) -> str:
        """Return the settings for use in a sentence."""
        stated = (f"`{key} = {json.dumps(value, ensure_ascii=False)}`" for key, value in self.settings)
        return " and ".join(stated) or "the usual form"


def times(cells: Iterable[str | None] | ArrowColumn) -> list[Suggestion]:
    """Return the time formats that read any of the cells, those that read most first.

    Two formats that read the same number differ in the order of day and month, which the cells do not show.
    """
    stated = _stated(cells)
    sample = _spread(stated, _SAMPLE_CELLS)
    if not pc.any(pc.match_substring_regex(sample, "[0-9]")).as_py():
        return []  # every time has digits
    counts = _times_read(sample, _alike(sample))
    if len(sample) < len(stated):
        counts = _times_read(stated, [form for form, reads in counts.items() if reads])
    return _best_first(
        [Suggestion((("time_format", form),), reads, len(stated)) for form, reads in counts.items() if reads]
    )


def several_times(cells: Iterable[str | None] | ArrowColumn, formats: Sequence[str]) -> Suggestion | None:
    """Return formats to try in order that together read more of the cells than `formats`, which come first.

    Those of them that read nothing are left out. None if no further format reads a cell.
    """
    stated = _stated(cells)
    used: list[str] = []
    for one in formats:
        unread = _unread(stated, [*used, one])
        used += [one] if len(unread) < len(_unread(stated, used)) else []
    unread, further = _unread(stated, used), 0
    while len(unread) and further < _MOST_FURTHER and (suggestions := times(unread)):
        same = [str(one.settings[0][1]) for one in best(suggestions)]
        used, further = [*used, next((one for one in same if one not in _COUNTED), same[0])], further + 1
        unread = _unread(stated, used)
    return Suggestion(time_settings(used), len(stated) - len(unread), len(stated)) if further else None


def time_settings(formats: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """Return the setting that states these time formats."""
    return (("time_format", formats[0] if len(formats) == 1 else list(formats)),)


def _unread(texts: pa.Array, formats: Sequence[str]) -> pa.Array:
    """Return the texts that none of the formats reads."""
    return texts.filter(pc.is_null(instants(pa.chunked_array([texts]), formats, "UTC"))) if formats else texts


def numbers(cells: Iterable[str | None] | ArrowColumn) -> list[Suggestion]:
    """Return the forms of numbers that read any of the cells, those that read most with the fewest settings first."""
    stated = _stated(cells)
    signs = _currency_signs(stated)
    suggestions = []
    for decimal, thousands, used in product(".,", _THOUSANDS, {(), signs}):
        form = NumberForm(decimal, thousands, used)
        if thousands == decimal:
            continue
        reads = len(stated) - table_numbers.parsed(stated, form).null_count
        suggestions.append(Suggestion(settings_of(form), reads, len(stated)))
    return _without_redundant(_best_first(suggestions))


def settings_of(form: NumberForm) -> tuple[tuple[str, Any], ...]:
    """Return the settings that state a form of numbers."""
    usual = table_numbers.PLAIN
    stated = (("decimal", form.decimal), ("thousands", form.thousands), ("currency_signs", list(form.currency_signs)))
    return tuple((key, value) for key, value in stated if value and value != getattr(usual, key))


def form_of(settings: Mapping[str, Any]) -> NumberForm:
    """Return the form of numbers that settings state."""
    return NumberForm(**{**settings, "currency_signs": tuple(settings.get("currency_signs", ()))})


def reads(cells: ArrowColumn, suggestion: Suggestion) -> int:
    """Return how many of all the cells the settings of a suggestion read."""
    stated, settings = _filled(cells), dict(suggestion.settings)
    if (time_format := settings.get("time_format")) is not None:
        if isinstance(time_format, list):
            return len(stated) - len(_unread(stated, time_format))
        return _times_read(stated, [time_format]).get(time_format, 0)
    return len(stated) - int(table_numbers.parsed(stated, form_of(settings)).null_count)


def best(suggestions: Sequence[Suggestion]) -> list[Suggestion]:
    """Return the suggestions that read as many cells as the first one."""
    return [one for one in suggestions if one.reads == suggestions[0].reads]


def _stated(cells: Iterable[str | None] | ArrowColumn) -> pa.Array:
    """Return up to 5,000 cells that are not empty."""
    return _spread(_filled(cells), _MOST_CELLS)


def _filled(cells: Iterable[str | None] | ArrowColumn) -> pa.Array:
    """Return the cells that are not empty."""
    texts = cells if isinstance(cells, pa.Array | pa.ChunkedArray) else pa.array(list(cells), pa.string())
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    texts = pc.utf8_trim_whitespace(texts.cast(pa.string()))
    empty = pc.is_in(texts, value_set=pa.array(table_numbers.EMPTY_CELLS))
    return texts.filter(pc.and_(pc.is_valid(texts), pc.invert(empty)))


def _spread(texts: pa.Array, size: int) -> pa.Array:
    step = max(1, -(-len(texts) // size))
    return texts.take(pa.array(range(0, len(texts), step), pa.int64()))


def _alike(texts: pa.Array) -> list[str]:
    """Return the formats that have the same signs between their letters and digits as one of the texts."""
    signs = {frozenset(sign for sign in text if not sign.isalnum()) for text in texts.to_pylist()}
    signs |= {some - {"+"} for some in signs} | {some - {"+", "-"} for some in signs}  # of an offset from UTC
    return [form for form in _FORMATS if form in _COUNTED or frozenset(re.sub("%.|[A-Z]", "", form)) in signs]


def _times_read(texts: pa.Array, formats: Sequence[str]) -> dict[str, int]:
    """Return how many of the texts each format reads as a moment of a plausible year."""
    reads = {form: _plausible(column, form) for form, column in _counted(texts, formats).items()}
    written = [form for form in formats if form not in _COUNTED]
    if written and len(texts):
        counts = ", ".join(
            f"count(*) FILTER (year(try_strptime(text, {literal(form)})) BETWEEN {_YEARS[0]} AND {_YEARS[1]})"
            for form in written
        )
        row = query(f"SELECT [{counts}] AS counts FROM cells", cells=pa.table({"text": texts}))["counts"][0].as_py()
        reads |= dict(zip(written, row, strict=True))
    return reads


def _counted(texts: pa.Array, formats: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """Return the texts that the standard form may read and the numbers since 1970, by the format that reads them."""
    dates, digits = (texts.filter(pc.match_substring_regex(texts, one)) for one in (_BEGINS_WITH_DATE, _MAY_BE_NUMBER))
    numbers = decimals(digits) if len(digits) else pa.chunked_array([digits])
    cells = {TIMESTAMP: pa.chunked_array([dates])} | dict.fromkeys(EPOCHS, numbers)
    return {form: cells[form] for form in formats if form in cells}


def _plausible(cells: pa.ChunkedArray, time_format: str) -> int:
    if not len(cells):
        return 0
    micros = pc.cast(instants(cells, [time_format], "UTC"), pa.int64())
    years = _COUNTED_YEARS if time_format in EPOCHS else _YEARS
    first, last = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000 for year in years)
    inside = pc.and_(pc.greater_equal(micros, first), pc.less(micros, last))
    return int(pc.sum(inside).as_py() or 0)


def _currency_signs(texts: pa.Array) -> tuple[str, ...]:
    """Return the texts before and after the numbers that name a currency."""
    space, digits = rf"[\s{SPACES}]*", rf"[0-9.,\s{SPACES}{''.join(_THOUSANDS)}]+?"
    around = rf"^[+-]?(?P<before>[^0-9.,+-]*?){space}[+-]?{digits}{space}(?P<after>[^0-9.,\s]*)$"
    parts = pc.extract_regex(texts, around)
    words = {
        word for side in ("before", "after") for word in pc.unique(pc.struct_field(parts, side)).to_pylist() if word
    }
    known = sorted(word for word in words if word.upper() in CODES or word.upper() in NAMES)
    return tuple(known[:_MOST_SIGNS])


def _best_first(suggestions: list[Suggestion]) -> list[Suggestion]:
    return sorted((one for one in suggestions if one.reads), key=lambda one: (-one.reads, len(one.settings)))


def _without_redundant(suggestions: list[Suggestion]) -> list[Suggestion]:
    """Leave out a suggestion if another one reads as many cells with fewer of the same settings."""
    needed: list[Suggestion] = []
    for one in suggestions:
        if not any(
            other.reads >= one.reads and set(map(str, other.settings)) < set(map(str, one.settings)) for other in needed
        ):
            needed.append(one)
    return needed


Suggests = Callable[[ArrowColumn], list[Suggestion]]


@dataclass
class _UnreadableColumn:
    summary: UnreadableCells
    places: NDArray[np.int64]
    values: list[str]
    refused: bool


@dataclass
class Reader:
    """The rows of a chunk with computed expressions, and the format of its numbers and times."""

    rows: pa.Table
    form: NumberForm
    formats: Sequence[str]
    zone: str
    zone_assumed: int = 0
    """The number of times without a zone."""
    _unreadable: list[_UnreadableColumn] = field(default_factory=list)

    def number(self, key: str, source: Source | None) -> ArrowColumn:
        """Return the column of a key as numbers; null if there is none."""
        values = number(self.rows, source, self.form)
        if source is None or not values.null_count:
            return values
        if isinstance(source, Expression):
            for column, bad in unreadable_columns(self.rows, source, self.form, values).items():
                self.record(key, column, NUMBER, bad, self._numbers)
        elif is_text(self.rows[source].type):
            self.record(key, source, NUMBER, table_numbers.unreadable(self.rows[source], values), self._numbers)
        return values

    def moment(self, key: str, source: Source, required: ArrowColumn | None = None) -> ArrowColumn:
        """Return the column of a key as times in UTC; an unreadable time is recorded only in `required` rows."""
        column = column_of(source)
        try:
            values, assumed = parse_times(self.rows[column], self.formats, self.zone)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise TailorbirdError(
                f"The column {column!r} must hold times, found {self.rows[column].type}. Fix the file or the mapping."
            ) from None
        self.zone_assumed += assumed
        if values.null_count:
            texts = words(self.rows, source)
            bad = table_numbers.unreadable(texts, values)
            self.record(key, source, TIME, bad if required is None else pc.and_(bad, required), self._times)
        return values

    def _times(self, texts: ArrowColumn) -> list[Suggestion]:
        others = [one for one in times(texts) if one.settings != time_settings(self.formats)]
        whole = bool(others) and others[0].reads == others[0].of
        several = None if whole else several_times(texts, self.formats)
        return sorted([*([several] if several else []), *others], key=lambda one: -one.reads)

    def _numbers(self, texts: ArrowColumn) -> list[Suggestion]:
        return [one for one in numbers(texts) if one.settings != settings_of(self.form)]

    def record(
        self,
        key: str,
        source: Source,
        kind: str,
        bad: ArrowColumn,
        suggests: Suggests | None = None,
        *,
        refused: bool = True,
    ) -> None:
        """Record the rows whose cells cannot be read as this kind; `refused` states whether the row is quarantined."""
        places = np.flatnonzero(pc.fill_null(bad, False).to_numpy(zero_copy_only=False))
        if not len(places):
            return
        texts = words(self.rows, source)
        of = len(_filled(texts))
        ways = _ways(suggests(texts) if suggests else [], texts, of - len(places))
        name = source if isinstance(source, str) else source.text
        values = texts.take(pa.array(places)).to_pylist()
        summary = UnreadableCells(key, name, kind, len(places), of, ways)
        self._unreadable.append(_UnreadableColumn(summary, places, values, refused))

    @property
    def unread(self) -> tuple[UnreadableCells, ...]:
        """Return the unreadable cells, by key."""
        return tuple(one.summary for one in self._unreadable)

    def columns(self) -> dict[str, pa.Array]:
        """Return the columns that name and describe the unreadable cells of each row. The values are raw."""
        if not self._unreadable:
            return {KEYS: pa.nulls(len(self.rows), pa.string()), CELLS: pa.nulls(len(self.rows), pa.list_(CELL))}
        names: list[str | None] = [None] * len(self.rows)
        described: list[list[dict[str, str | None]] | None] = [None] * len(self.rows)
        for one in self._unreadable:
            about = {"key": one.summary.key, "column": one.summary.column, "suggestion": one.summary.suggestion}
            for row, value in zip(one.places.tolist(), one.values, strict=True):
                described[row] = [*(described[row] or []), {**about, "value": value}]
                if one.refused:
                    names[row] = f"{names[row] or '|'}{one.summary.key}|"
        return {KEYS: pa.array(names, pa.string()), CELLS: pa.array(described, pa.list_(CELL))}


def _ways(suggestions: Sequence[Suggestion], texts: ArrowColumn, read: int) -> dict[str, int]:
    """Return the settings that would read most cells, if they read more than the present ones.

    They come from a sample of a large column, so all cells are counted.
    """
    counts = {one.text: reads(texts, one) for one in (best(suggestions) if suggestions else ())}
    return {way: count for way, count in counts.items() if count > read}
