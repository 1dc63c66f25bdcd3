"""Converts values of a database driver to Arrow, with types that rows of later chunks can share."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

_DIGITS: Final = 38
_NONE: Final = type(None)
_MOMENT: Final = pa.timestamp("us")
_INSTANT: Final = pa.timestamp("us", "UTC")
_LARGEST: Final = 2**63


def arrow_column(values: Sequence[Any]) -> pa.Array:
    """Return values as an Arrow array: booleans, whole numbers, decimals, floats, times, dates or texts."""
    kinds = set(map(type, values)) - {_NONE}
    if not kinds:
        return pa.nulls(len(values))
    made = _exact(kinds, values)
    return made if made is not None else pa.array([_text(value) for value in values], pa.string())


def _exact(kinds: set[type], values: Sequence[Any]) -> pa.Array | None:
    """Return values of one kind as they are; None if text has to stand for them."""
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(value is None or -_LARGEST <= value < _LARGEST for value in values):
        return pa.array(values, pa.int64())
    if float in kinds and kinds <= {float, int, Decimal}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds <= {int, Decimal}:
        return _decimals([None if value is None else Decimal(value) for value in values])
    if all(issubclass(kind, datetime) for kind in kinds):
        zones = {value.tzinfo is not None for value in values if value is not None}
        return pa.array(values, _INSTANT if zones == {True} else _MOMENT) if len(zones) == 1 else None
    return pa.array(values, pa.date32()) if kinds == {date} else None


def _decimals(values: Sequence[Decimal | None]) -> pa.Array | None:
    """Return decimals with the largest scale among them; None if they have too many digits."""
    parts = [value.as_tuple() for value in values if value is not None]
    if any(not isinstance(part.exponent, int) for part in parts):  # not a number, or infinite
        return None
    scale = max((max(0, -int(part.exponent)) for part in parts), default=0)
    whole = max((len(part.digits) + int(part.exponent) for part in parts), default=0)
    return pa.array(values, pa.decimal128(_DIGITS, scale)) if whole + scale <= _DIGITS else None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(value)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.hex()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str)
    return value.isoformat() if isinstance(value, date) else str(value)


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both; text if nothing else does."""
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    both = (first, second)
    if all(map(_is_number, both)):
        if any(map(pa.types.is_floating, both)):
            return pa.float64()
        return pa.decimal128(_DIGITS, max(kind.scale for kind in both if pa.types.is_decimal(kind)))
    if (pa.types.is_date(first) and second == _MOMENT) or (pa.types.is_date(second) and first == _MOMENT):
        return _MOMENT
    return pa.string()


def _is_number(kind: pa.DataType) -> bool:
    numbers: Iterable[Callable[[pa.DataType], bool]] = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(is_it(kind) for is_it in numbers)


def kind_name(kind: pa.DataType) -> str:
    """Return a type in a word for people; empty if there were no values."""
    if pa.types.is_null(kind):
        return ""
    if _is_number(kind):
        return "number"
    if pa.types.is_timestamp(kind):
        return "time" if kind.tz else "time without a zone"
    return "date" if pa.types.is_date(kind) else "true or false" if pa.types.is_boolean(kind) else "text"
