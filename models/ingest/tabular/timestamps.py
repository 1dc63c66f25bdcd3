"""Read the times of a table in declared formats, as instants in UTC; an invalid time becomes null."""

from collections.abc import Sequence
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from models.primitives.arrow_sql import literal, query
from models.primitives.arrow_types import ArrowColumn

INSTANT: Final = pa.timestamp("us", tz="UTC")
TIMESTAMP: Final = "timestamp"
EPOCHS: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Microseconds in one unit of each format that counts since 1970."""

_DAY: Final = 86_400_000_000
_FIRST: Final = -62_135_596_800_000_000
_LAST: Final = 253_402_300_799_999_999
# The years 1 to 9999 in microseconds: other years have no date.
_ZONED: Final = r"^\d{4}-\d\d-\d\d[T ]\d\d.*(Z|UTC|[+-]\d\d(:?\d\d)?)$"
_LOCAL: Final = r"^\d{4}-\d\d-\d\d([T ][0-9:.]+)?$"


def zone_fault(name: str) -> str | None:
    """Return the fault of the name of a time zone, if there is one."""
    try:
        pc.assume_timezone(pa.array([0], pa.timestamp("us")), name)
    except (pa.ArrowInvalid, ValueError):
        return f"there is no time zone {name!r}; use a name of the IANA database such as Europe/Berlin"
    return None


def format_fault(name: str) -> str | None:
    """Return the fault of a time format, if there is one."""
    if name == TIMESTAMP or name in EPOCHS:
        return None
    known = f"use {TIMESTAMP}, {', '.join(EPOCHS)} or a format such as %d.%m.%Y %H:%M"
    if "%" not in name:
        return f"there is no time format {name!r}; {known}"
    try:
        query(f"SELECT try_strptime('', {literal(name)})")
    except duckdb.Error as error:
        return f"the time format {name!r} cannot be used ({str(error).splitlines()[0]}); {known}"
    return None


def instants(values: pa.ChunkedArray, formats: Sequence[str], zone: str) -> ArrowColumn:
    """Return times in UTC to the microsecond; a time without a zone is in `zone`."""
    return parse_times(values, formats, zone)[0]


def parse_times(values: pa.ChunkedArray, formats: Sequence[str], zone: str) -> tuple[ArrowColumn, int]:
    """Return times in UTC, each by the first format that reads it, and the number of times without a zone."""
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return _native(values, zone)
    times, assumed = _read(values, formats[0], zone)
    for time_format in formats[1:]:
        if not times.null_count:
            break
        unread = pc.if_else(pc.is_null(times), values, pa.scalar(None, values.type))
        more, without = _read(unread, time_format, zone)
        times, assumed = pc.coalesce(times, more), assumed + without
    return times, assumed


def _read(values: pa.ChunkedArray, time_format: str, zone: str) -> tuple[ArrowColumn, int]:
    if time_format in EPOCHS:
        return _bounded(_counted(values, EPOCHS[time_format])).cast(INSTANT), 0
    words = pc.utf8_trim_whitespace(pc.cast(values, pa.string()))
    return _written(words, time_format, zone)


def _native(values: pa.ChunkedArray, zone: str) -> tuple[ArrowColumn, int]:
    tz = getattr(values.type, "tz", None)
    try:
        moments = pc.cast(values, pa.timestamp("us", tz=tz), safe=getattr(values.type, "unit", None) != "ns")
    except pa.ArrowInvalid:  # microseconds cannot count these years
        days = pa.types.is_date32(values.type)
        counts = pc.cast(values, pa.int32()).cast(pa.int64()) if days else pc.cast(values, pa.int64())
        factor = _DAY if days else {"s": 1_000_000}.get(getattr(values.type, "unit", ""), 1_000)
        moments = _counted(counts, factor).cast(pa.timestamp("us", tz=tz))
    bounded = _bounded(moments)
    return (bounded.cast(INSTANT), 0) if tz else (_at(bounded, zone), _valid(bounded))


def _valid(values: ArrowColumn) -> int:
    return len(values) - int(values.null_count)


def _at(local: ArrowColumn, zone: str) -> ArrowColumn:
    """Return local times of a zone as instants."""
    return pc.cast(pc.assume_timezone(local, zone, ambiguous="earliest", nonexistent="latest"), INSTANT)


def _bounded(moments: ArrowColumn) -> ArrowColumn:
    """Return the moments, null outside the years 1 to 9999."""
    micros = pc.cast(moments, pa.int64())
    span = pc.min_max(micros).as_py()
    if span["min"] is None or (span["min"] >= _FIRST and span["max"] <= _LAST):
        return moments
    inside = pc.and_(pc.greater_equal(micros, _FIRST), pc.less_equal(micros, _LAST))
    return pc.if_else(inside, moments, pa.scalar(None, moments.type))


def decimals(values: ArrowColumn) -> pa.ChunkedArray:
    """Return the numbers of texts, null for a text that is none."""
    text = pa.table({"text": pc.cast(values, pa.string())})
    return query("SELECT try_cast(trim(text) AS DOUBLE) AS number FROM rows", rows=text)["number"]


def _counted(values: ArrowColumn, factor: int) -> ArrowColumn:
    """Return numbers (or their text) since 1970 in microseconds; null if invalid or outside the range of int64."""
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        values = decimals(values)
    largest = _LAST // factor
    size = pc.cast(values, pa.float64(), safe=False)
    inside = pc.fill_null(pc.less_equal(pc.abs(size), float(largest)), False)
    known = pc.if_else(inside, values, pa.scalar(None, values.type))
    if pa.types.is_floating(known.type):
        return pc.cast(pc.round(pc.multiply(pc.cast(known, pa.float64()), float(factor))), pa.int64())
    return pc.multiply(pc.cast(known, pa.int64()), factor)


def _written(words: pa.ChunkedArray, time_format: str, zone: str) -> tuple[ArrowColumn, int]:
    """Return text as instants: ISO 8601, or by a format."""
    rows = pa.table({"text": words})
    if time_format == TIMESTAMP:
        statement = f"""
            SELECT CASE WHEN regexp_matches(text, '{_ZONED}') THEN try_cast(text AS TIMESTAMPTZ) END AS moment,
                   CASE WHEN regexp_matches(text, '{_LOCAL}') THEN try_cast(text AS TIMESTAMP) END AS local FROM rows
        """
        read = query(statement, rows=rows)
        local = _bounded(read["local"])
        return pc.coalesce(_bounded(read["moment"]).cast(INSTANT), _at(local, zone)), _valid(local)
    times = query(f"SELECT try_strptime(text, {literal(time_format)}) AS moment FROM rows", rows=rows)["moment"]
    return _native(times, zone)
