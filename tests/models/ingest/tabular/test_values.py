from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.tabular.values import INSTANT, instants


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
        ([float(SECONDS)], pa.float64(), "epoch_s"),
        ([Decimal(SECONDS)], pa.decimal128(12), "epoch_s"),
        ([SECONDS * 1000], pa.uint64(), "epoch_ms"),
        ([SECONDS * 1000], pa.timestamp("ms"), "timestamp"),
        ([SECONDS * 1_000_000], pa.int64(), "epoch_us"),
        ([str(SECONDS * 1_000_000)], pa.string(), "epoch_us"),
        (["2024-06-01T12:00:00"], pa.string(), "timestamp"),
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
        ([2**63 - 1, -(2**62)], pa.timestamp("ms"), "timestamp"),
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
