"""Cells of tables: what reads them, what is suggested for them, and where a query goes on."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.tabular import column_reader
from models.ingest.tabular.column_reader import best, numbers, times
from models.ingest.tabular.numbers import NumberForm, parsed, unreadable
from models.ingest.tabular.sql_cursor import CursorError, CursorPosition, SqlKeys, overlap_of
from models.ingest.tabular.unreadable_cells import UnreadableCells, merge_unreadable, shown
from models.ingest.tabular.values import INSTANT, instants

POSITIONS: list[tuple[str, Any]] = [
    ("time", datetime(2024, 3, 1, 12, 0, 0, 123456, UTC)),
    ("time", datetime(2024, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))),
    ("local time", datetime(2024, 3, 1, 12)),
    ("date", date(2024, 3, 1)),
    ("number", 9_007_199_254_740_993),
    ("number", Decimal("12.50")),
]


@pytest.mark.parametrize(
    ("cells", "time_format"),
    [
        (["24.12.2024 10:20", "31.12.2024 09:00"], "%d.%m.%Y %H:%M"),
        (["12/24/2024 7:05 PM", "1/2/2025 11:59 AM"], "%m/%d/%Y %I:%M %p"),
        (["1709632800", "1709632801"], "epoch_s"),
        (["1709632800123"], "epoch_ms"),
        (["2024-12-24", "2024-12-24T10:00:00Z"], "timestamp"),
        (["Dec 24, 2024"], "%b %d, %Y"),
        (["24-Dec-2024 10:20:30"], "%d-%b-%Y %H:%M:%S"),
    ],
)
def test_the_format_that_reads_all_times_is_suggested_alone(cells: list[str], time_format: str) -> None:
    result = best(times([*cells, None, ""]))

    assert [one.settings for one in result] == [(("time_format", time_format),)]
    assert (result[0].reads, result[0].of) == (len(cells), len(cells))


def test_times_that_fit_two_formats_yield_both() -> None:
    result = best(times(["05/03/2024", "06/04/2024"]))

    assert {one.settings[0][1] for one in result} == {"%d/%m/%Y", "%m/%d/%Y"}


def test_ids_and_words_suggest_no_time_format() -> None:
    assert times(["4711", "4712"]) == times(["yes", "no"]) == times([]) == []


@pytest.mark.parametrize(
    ("cells", "settings"),
    [
        (["1.5", "2"], {}),
        (["1.234,50", "2,00"], {"decimal": ",", "thousands": "."}),
        (["1\u00a0234,50"], {"decimal": ",", "thousands": " "}),
        (["12,50 €", "€ 3,20", "7"], {"decimal": ",", "currency_signs": ["€"]}),
        (["-$1,234.50", "$3"], {"thousands": ",", "currency_signs": ["$"]}),
    ],
)
def test_the_form_of_numbers_with_the_fewest_settings_is_suggested(
    cells: list[str], settings: dict[str, object]
) -> None:
    result = best(numbers(cells))

    assert [dict(one.settings) for one in result] == [settings]
    assert result[0].reads == len(cells)


def test_a_comma_before_three_digits_may_mean_both() -> None:
    assert [dict(one.settings) for one in best(numbers(["1,234", "2,345"]))] == [{"thousands": ","}, {"decimal": ","}]


def test_no_setting_reads_words_as_numbers() -> None:
    assert numbers(["a@b.example", "twelve"]) == []


def test_cells_that_a_suggestion_reads_are_counted_in_full_not_in_a_sample() -> None:
    times_ = ["24.12.2024"] * 20_000 + ["2024-12-24", ""]
    prices = ["1,50"] * 20_000 + ["x", ""]

    assert column_reader.reads(pa.array(times_), best(times(times_))[0]) == 20_000
    assert column_reader.reads(pa.array(prices), best(numbers(prices))[0]) == 20_000


def test_a_number_is_read_by_its_form_or_not_at_all() -> None:
    german = NumberForm(",", ".", ("€",))

    assert parsed(pa.array(["1.234,5", "1,5", "12.34", "1.5", "5 €", "x", "NA", "", None]), german).to_pylist() == [
        *(1234.5, 1.5, None, None, 5.0, None, None, None, None)
    ]
    assert parsed(pa.array(["1.5", "1,5", "1_0", "+2", "inf"])).to_pylist() == [1.5, None, None, 2.0, float("inf")]


def test_a_bad_number_changes_nothing_in_how_its_neighbours_are_read() -> None:
    fine = ["1", "1.", ".5", "-.5", "1e3", "1.e5", "INF", "-Infinity", "nan", " 7 ", "+5", "1E+5"]

    expected = parsed(pa.array(fine)).to_pylist()

    assert parsed(pa.array([*fine, "bad"])).to_pylist()[:-1] == pytest.approx(expected, nan_ok=True)


def test_only_what_holds_something_is_unreadable() -> None:
    cells = pa.array(["x", "1", "", " ", "n/a", None, "1,5"])

    assert unreadable(cells, parsed(cells)).to_pylist() == [True, False, False, False, False, False, True]


@pytest.mark.parametrize(
    "cell", ["31.02.2024", "2024-13-01 10:00", "1.234,50", "12,5", "5 €", "USD 3", "-", "1 234,50"]
)
def test_numbers_dates_and_signs_are_shown_as_they_are_written(cell: str) -> None:
    assert shown(cell) == cell


@pytest.mark.parametrize(
    ("cell", "shape"),
    [
        ("ann@shop.example", "aaa@aaaa.aaaaaaa"),
        ("4711000", "9999999"),
        ("+49 170 1234567", "+99 999 9999999"),
        ("123-45-6789", "999-99-9999"),
        ("192.168.100.10", "999.999.999.99"),
        ("x" * 60, "a" * 40 + "…"),
    ],
)
def test_a_value_that_may_be_a_person_is_shown_by_its_shape_only(cell: str, shape: str) -> None:
    assert shown(cell) == shape


def test_a_known_user_id_is_never_shown() -> None:
    assert shown("3.5", frozenset({"3.5"})) == "9.9"


def test_the_cells_of_several_chunks_are_counted_together() -> None:
    one = {"key": "value", "column": "Paid", "kind": "number", "count": 2, "of": 4, "ways": {"`decimal`": 4}}
    result = merge_unreadable([{"value": one | {"places": [2, 9], "numbered": "line"}}] * 2)

    assert result == [UnreadableCells("value", "Paid", "number", 4, 8, {"`decimal`": 8}, (2, 9, 2), "line")]
    assert result[0].sentence == (
        "4 of 8 values of 'Paid' (value) cannot be read as a number (lines 2, 9, 2 and more); "
        "`decimal` would read 8 of 8."
    )


def test_settings_that_read_less_in_all_chunks_together_are_not_suggested() -> None:
    one = {"key": "at", "column": "Date", "kind": "time", "count": 60, "of": 100, "ways": {"`other`": 70}}
    chunks = [{"at": one | {"places": [2]}}, {"at": one | {"count": 10, "ways": {}, "places": [3]}}]

    assert merge_unreadable(chunks)[0].suggestion is None


def read(
    values: list[Any], kind: pa.DataType, time_format: str | list[str] = "timestamp", zone: str = "UTC"
) -> list[Any]:
    formats = [time_format] if isinstance(time_format, str) else time_format
    result = instants(pa.chunked_array([pa.array(values, kind)]), formats, zone)
    assert result.type == INSTANT
    return list(result.to_pylist())


NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
SECONDS = 1_717_243_200


@pytest.mark.parametrize(
    ("values", "kind", "time_format"),
    [
        ([SECONDS], pa.int64(), "epoch_s"),
        ([f" {SECONDS} "], pa.string(), "epoch_s"),
        ([Decimal(SECONDS)], pa.decimal128(12), "epoch_s"),
        ([SECONDS * 1000], pa.uint64(), "epoch_ms"),
        ([SECONDS * 1000], pa.timestamp("ms"), "timestamp"),
        ([SECONDS * 1_000_000], pa.int64(), "epoch_us"),
        (["2024-06-01 14:00+02:00"], pa.large_string(), "timestamp"),
        (["01.06.2024 12 Uhr"], pa.string(), "%d.%m.%Y %H Uhr"),
        (["Jun 1 2024 12:00 PM"], pa.string(), "%b %d %Y %I:%M %p"),
        (["2024-06-01 14:00 +0200"], pa.string(), "%Y-%m-%d %H:%M %z"),
        ([2024060112], pa.int64(), "%Y%m%d%H"),
    ],
)
def test_all_these_mean_the_same_moment(values: list[Any], kind: pa.DataType, time_format: str) -> None:
    assert read(values, kind, time_format) == [NOON]


def test_parts_of_a_second_are_kept_to_the_microsecond() -> None:
    assert read([1.25], pa.float64(), "epoch_s") == [datetime(1970, 1, 1, 0, 0, 1, 250_000, tzinfo=UTC)]
    assert read(["17.5"], pa.string(), "epoch_ms") == [datetime(1970, 1, 1, 0, 0, 0, 17_500, tzinfo=UTC)]
    assert read([1_717_243_200_123_456], pa.int64(), "epoch_us") == [NOON.replace(microsecond=123_456)]


def test_a_day_is_its_beginning() -> None:
    assert read([date(2024, 6, 1)], pa.date32()) == [datetime(2024, 6, 1, tzinfo=UTC)]
    assert read(["2024-06-01"], pa.string(), zone="Europe/Berlin") == [datetime(2024, 5, 31, 22, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        (datetime(2024, 1, 15, 12), datetime(2024, 1, 15, 11, tzinfo=UTC)),
        (datetime(2024, 7, 15, 12), datetime(2024, 7, 15, 10, tzinfo=UTC)),
        (datetime(2024, 10, 27, 2, 30), datetime(2024, 10, 27, 0, 30, tzinfo=UTC)),  # twice: the first
        (datetime(2024, 3, 31, 2, 30), datetime(2024, 3, 31, 1, tzinfo=UTC)),  # never: after the gap
    ],
    ids=["winter", "summer", "ambiguous", "nonexistent"],
)
def test_local_times_follow_the_clocks_of_their_zone(local: datetime, expected: datetime) -> None:
    zone = "Europe/Berlin"
    assert read([local], pa.timestamp("us"), zone=zone) == [expected]
    assert read([local.isoformat()], pa.string(), zone=zone) == [expected]
    assert read([local.strftime("%d/%m/%Y %H:%M")], pa.string(), "%d/%m/%Y %H:%M", zone) == [expected]


def test_a_time_with_a_zone_ignores_the_zone_of_the_mapping() -> None:
    assert read([SECONDS * 1000], pa.timestamp("ms", tz="Asia/Kolkata"), zone="Europe/Berlin") == [NOON]
    assert read(["2024-06-01T12:00:00Z"], pa.string(), zone="Europe/Berlin") == [NOON]
    assert read([SECONDS], pa.int64(), "epoch_s", "Europe/Berlin") == [NOON]


@pytest.mark.parametrize(
    ("values", "kind", "time_format"),
    [
        (
            ["yesterday", "now", "infinity", "epoch", "", " ", "2024-13-01", "99999-01-01", "12:00"],
            pa.string(),
            "timestamp",
        ),
        (["1.6.", "", "31.02.2024", "2024-06-01"], pa.string(), "%d.%m.%Y"),
        (["soon", "", "nan", "inf", "1e400", "9" * 30, "0x10"], pa.string(), "epoch_s"),
        ([float("nan"), float("inf"), 1e300], pa.float64(), "epoch_s"),
        ([2**63 - 1, -(2**63)], pa.int64(), "epoch_us"),
        ([2**64 - 1], pa.uint64(), "epoch_s"),
        ([2**63 - 1, -(2**63) + 1], pa.timestamp("us"), "timestamp"),
        ([2**63 - 1], pa.timestamp("s", tz="UTC"), "timestamp"),
        ([True], pa.bool_(), "epoch_s"),
    ],
)
def test_a_value_that_is_no_time_is_null_and_no_error(values: list[Any], kind: pa.DataType, time_format: str) -> None:
    assert read([*values, None], kind, time_format) == [None] * (len(values) + 1)


def test_of_several_formats_the_first_that_reads_a_cell_counts() -> None:
    cells = ["01.06.2024 12:00", "2024-06-01 12:00:00", str(SECONDS), "soon", None]
    assert read(cells, pa.string(), ["%d.%m.%Y %H:%M", "timestamp", "epoch_s"]) == [NOON, NOON, NOON, None, None]
    assert read(["06/01/2024", "13/01/2024"], pa.string(), ["%m/%d/%Y", "%d/%m/%Y"]) == [
        datetime(2024, 6, 1, tzinfo=UTC),
        datetime(2024, 1, 13, tzinfo=UTC),
    ]


@pytest.mark.parametrize(("kind", "value"), POSITIONS)
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
