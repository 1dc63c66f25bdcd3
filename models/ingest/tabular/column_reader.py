"""Read the typed columns of a chunk by a part of a mapping, and record unreadable cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.ingest.tabular import format_suggestions, numbers
from models.ingest.tabular.expressions import Expression, Source, column_of
from models.ingest.tabular.format_suggestions import Suggestion
from models.ingest.tabular.numbers import NumberForm
from models.ingest.tabular.timestamps import parse_times
from models.ingest.tabular.unreadable_cells import CELL, CELLS, KEYS, NUMBER, TIME, UnreadableCells
from models.ingest.tabular.values import UnreadableColumnError, number, place, unreadable_columns, words
from models.primitives.arrow_types import ArrowColumn

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
        self._record_numbers(key, source, values)
        return values

    def place(self, key: str, source: Source | None) -> ArrowColumn:
        """Return the column of a key as positions in a list; null if there is no whole number."""
        self._record_numbers(key, source, number(self.rows, source, self.form) if source is not None else None)
        return place(self.rows, source, self.form)

    def moment(self, key: str, source: Source, required: ArrowColumn | None = None) -> ArrowColumn:
        """Return the column of a key as times in UTC; an unreadable time is recorded only in `required` rows."""
        column = column_of(source)
        try:
            values, assumed = parse_times(self.rows[column], self.formats, self.zone)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise UnreadableColumnError(
                f"The column {column!r} must hold times, found {self.rows[column].type}. Fix the file or the mapping."
            ) from None
        self.zone_assumed += assumed
        if values.null_count:
            texts = words(self.rows, source)
            bad = numbers.unreadable(texts, values)
            self.record(key, source, TIME, bad if required is None else pc.and_(bad, required), self._times)
        return values

    def _record_numbers(self, key: str, source: Source | None, values: ArrowColumn | None) -> None:
        if source is None or values is None or not values.null_count:
            return
        if isinstance(source, Expression):
            for column, bad in unreadable_columns(self.rows, source, self.form, values).items():
                self.record(key, column, NUMBER, bad, self._numbers)
            return
        if pa.types.is_string(kind := self.rows[column_of(source)].type) or pa.types.is_large_string(kind):
            bad = numbers.unreadable(self.rows[column_of(source)], values)
            self.record(key, source, NUMBER, bad, self._numbers)

    def _times(self, texts: ArrowColumn) -> list[Suggestion]:
        others = [
            one
            for one in format_suggestions.times(texts)
            if one.settings != format_suggestions.time_settings(self.formats)
        ]
        whole = bool(others) and others[0].reads == others[0].of
        several = None if whole else format_suggestions.several_times(texts, self.formats)
        return sorted([*([several] if several else []), *others], key=lambda one: -one.reads)

    def _numbers(self, texts: ArrowColumn) -> list[Suggestion]:
        return [
            one
            for one in format_suggestions.numbers(texts)
            if one.settings != format_suggestions.settings_of(self.form)
        ]

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
        stated = pc.invert(pc.is_in(pc.utf8_trim_whitespace(texts), value_set=pa.array(numbers.EMPTY_CELLS)))
        of = int(pc.sum(pc.and_(pc.is_valid(texts), stated)).as_py() or 0)
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
    best = format_suggestions.best(suggestions) if suggestions else []
    counts = {one.text: format_suggestions.reads(texts, one) for one in best}
    return {way: reads for way, reads in counts.items() if reads > read}
