from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from models.ingest.tabular.sql_cursor import CursorError, CursorPosition, SqlKeys, overlap_of

VALUES: list[tuple[str, Any]] = [
    ("time", datetime(2024, 3, 1, 12, 0, 0, 123456, UTC)),
    ("time", datetime(2024, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))),
    ("local time", datetime(2024, 3, 1, 12)),
    ("date", date(2024, 3, 1)),
    ("number", 9_007_199_254_740_993),
    ("number", Decimal("12.50")),
]


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_a_position_survives_the_ledger(kind: Any, value: Any) -> None:
    position = CursorPosition.of(value, "at")
    assert position.kind == kind
    assert CursorPosition.parse(kind, str(position)).value == value


@pytest.mark.parametrize("value", [None, "2024-03-01", True, b"1", timedelta(1), float("nan"), Decimal("Infinity")])
def test_other_values_are_no_positions(value: object) -> None:
    with pytest.raises(CursorError, match="Name a column of times or numbers"):
        CursorPosition.of(value, "at")


def test_each_kind_has_an_overlap() -> None:
    assert CursorPosition("time", datetime(2024, 3, 1, tzinfo=UTC)).back(None).value.minute == 50
    assert CursorPosition("date", date(2024, 3, 1)).back(None).value == date(2024, 2, 29)
    assert CursorPosition("number", 5_000).back(None).value == 4_000
    assert CursorPosition("number", Decimal("7.5")).back(2).value == Decimal("5.5")
    assert CursorPosition("number", 0.75).back(0.5).value == Decimal("0.25")
    assert CursorPosition("date", date.min).back(timedelta(days=9)).value == date.min
    with pytest.raises(CursorError, match="a duration such as 10m"):
        CursorPosition("date", date(2024, 3, 1)).back(7)


@pytest.mark.parametrize("value", [Decimal("18446744073709551615.5"), 10**37 + 1, Decimal("0.1")])
def test_an_overlap_of_zero_begins_at_the_position(value: Any) -> None:
    for overlap in (0, 0.0):
        assert CursorPosition("number", value).back(overlap).value == value


def test_the_next_moment_is_a_microsecond_later() -> None:
    at = datetime(2024, 3, 1, tzinfo=UTC)
    assert CursorPosition("time", at).next_moment == at + timedelta(microseconds=1)
    assert CursorPosition("local time", datetime.max).next_moment is None
    assert CursorPosition("date", date(2024, 3, 1)).next_moment is None


def test_overlaps_are_durations_or_numbers() -> None:
    assert overlap_of("90s") == timedelta(seconds=90)
    assert overlap_of("1.5 h") == timedelta(minutes=90)
    assert overlap_of("25") == 25
    for wrong in ("soon", "-5", "10 x", ""):
        with pytest.raises(ValueError, match="overlap"):
            overlap_of(wrong)


def test_a_text_of_another_kind_is_no_position() -> None:
    with pytest.raises(CursorError, match="has a time zone, and the cursor has none"):
        CursorPosition.parse("local time", "2024-03-01T12:00:00Z")
    with pytest.raises(CursorError, match="write one such as 120000"):
        CursorPosition.parse("number", "many")
    with pytest.raises(CursorError, match="'NaN' is no number"):
        CursorPosition.parse("number", "NaN")
    assert CursorPosition.parse("time", "2024-03-01").value == datetime(2024, 3, 1, tzinfo=UTC)


def test_a_part_has_tables_or_a_query() -> None:
    assert SqlKeys(table="orders").tables == ["orders"]
    assert SqlKeys(query="SELECT 1").tables == []
    for wrong in ({"table": "a", "query": "SELECT 1"}, {"table": ["a", " "]}):
        with pytest.raises(ValueError, match="table"):
            SqlKeys.model_validate(wrong)
