"""Parts and folds keep the order of time for any events."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets.time_splits import Cuts, SplitConfig, by_days, by_share, rolling_origin, split
from models.errors import TailorbirdError

DAY = 86_400
NEW_YEARS_EVE = int(datetime(2017, 12, 31, tzinfo=UTC).timestamp())
SHARES = (0.70, 0.15, 0.15)
CONNECTION = duckdb.connect()


def on_duckdb(times: list[int]) -> nw.LazyFrame[Any]:
    return nw.from_native(CONNECTION.from_df(pd.DataFrame({"occurred_at": times}, dtype="int64")))


def on_pandas(times: list[int]) -> nw.LazyFrame[Any]:
    return nw.from_native(pd.DataFrame({"occurred_at": times}, dtype="int64")).lazy()


Engine = Callable[[list[int]], nw.LazyFrame[Any]]
engines = pytest.mark.parametrize("engine", [on_duckdb, on_pandas])


def times(rows: nw.LazyFrame[Any]) -> list[int]:
    return sorted(rows.collect("pyarrow")["occurred_at"].to_list())


@pytest.mark.parametrize("second", [0, 1, DAY - 1])
def test_by_days_the_data_end_as_the_day_of_the_newest_event_begins(second: int) -> None:
    result = by_days(NEW_YEARS_EVE + second, None, 30, 31)
    assert result == Cuts(NEW_YEARS_EVE - 61 * DAY, NEW_YEARS_EVE - 31 * DAY, NEW_YEARS_EVE)


def test_a_day_that_is_asked_for_wins() -> None:
    result = by_days(NEW_YEARS_EVE, date(2017, 3, 1), 1, 2)
    days = [datetime.fromtimestamp(cut, UTC).date().isoformat() for cut in result.all()]
    assert days == ["2017-02-26", "2017-02-27", "2017-03-01"]
    assert result.as_dict() == dict(zip(("validation_from", "test_from", "as_of"), result.all(), strict=True))


@engines
def test_by_default_the_shares_are_70_15_15_in_order_of_time(engine: Engine) -> None:
    result = split(engine([5 * place for place in reversed(range(20))]), SplitConfig())
    assert result == Cuts(70, 85, 96)


@engines
def test_all_events_of_the_second_of_a_boundary_go_to_the_later_part(engine: Engine) -> None:
    moments = [1, 2, 3, 4, 5, 6, 6, 6, 7, 8]
    result = by_share(engine(moments), SHARES, 9)
    assert result == Cuts(6, 7, 9)  # the eighth (of 0 … 9) is 6, the ninth 7


@engines
def test_shares_are_counted_of_what_happened_before_the_given_day(engine: Engine) -> None:
    moments = [day * DAY for day in range(10)] + [10 * DAY] * 500
    result = split(engine(moments), SplitConfig(as_of=date(1970, 1, 11)))
    assert result == Cuts(7 * DAY, 8 * DAY, 10 * DAY)  # of ten events, 8.5 round to 8


@engines
def test_dates_are_midnights(engine: Engine) -> None:
    config = SplitConfig("dates", validation_from=date(1970, 1, 3), test_from=date(1970, 1, 5), as_of=date(1970, 1, 9))
    assert split(engine([0, 7 * DAY]), config) == Cuts(2 * DAY, 4 * DAY, 8 * DAY)


moments = st.lists(st.integers(0, 2_000_000_000) | st.integers(1000, 1010), min_size=1, max_size=60)


@given(moments, st.randoms(use_true_random=False), st.sampled_from([SHARES, (0.5, 0.25, 0.25), (0.1, 0.1, 0.8)]))
@engines
def test_parts_are_disjoint_cover_everything_and_keep_to_the_order_of_time(
    engine: Engine, moments: list[int], random: Any, shares: tuple[float, float, float]
) -> None:
    config, shuffled = SplitConfig(shares=shares), random.sample(moments, len(moments))
    try:
        result = split(engine(moments), config)
    except TailorbirdError:
        return
    assert split(engine(shuffled), config) == result
    assert result.validation_from < result.test_from < result.as_of
    train = [moment for moment in moments if moment < result.validation_from]
    validation = [moment for moment in moments if result.validation_from <= moment < result.test_from]
    test = [moment for moment in moments if result.test_from <= moment < result.as_of]
    assert len(train) + len(validation) + len(test) == len(moments)
    assert min(len(train), len(validation), len(test)) > 0
    n = len(moments)
    assert len(train) <= round(n * shares[0])
    assert len(train) + len(validation) <= round(n * (shares[0] + shares[1]))


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 40), st.data())
def test_folds_never_overlap_in_measured_time_and_never_learn_from_what_they_measure(
    end: int, folds: int, horizon: int, data: Any
) -> None:
    needed = (folds * horizon + 28) * DAY
    earliest = end - needed - data.draw(st.integers(0, 10 * DAY))
    result = rolling_origin(earliest, end, folds, horizon)
    assert len(result) == folds
    assert result[-1].measured_until == end
    for fold, later in pairwise(result):
        assert fold.measured_until == later.measured_from
    for fold in result:
        assert fold.measured_from - fold.train_until == 0
        assert fold.measured_until - fold.measured_from == horizon * DAY
        assert fold.train_until - earliest >= 28 * DAY
    with pytest.raises(TailorbirdError, match="fewer folds"):
        rolling_origin(end - needed + 1, end, folds, horizon)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shares": (0.7, 0.2, 0.2)}, "sums to 1.1"),
        ({"shares": (0.85, 0.15)}, "three shares"),
        ({"by": "random"}, "choose one of share, days, dates"),
        ({"by": "days", "validation_days": 0}, "at least 1"),
        ({"by": "dates", "as_of": date(2020, 1, 1)}, "needs all of validation_from, test_from, as_of"),
        ({"test_from": date(2020, 1, 1)}, "set by='dates'"),
        (
            {"by": "dates", "validation_from": date(2020, 1, 1), "test_from": date(2020, 1, 1), "as_of": date.max},
            "out of order",
        ),
    ],
)
def test_a_contradictory_config_is_refused_with_the_reason(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(TailorbirdError, match=message):
        SplitConfig(**wrong)


@pytest.mark.parametrize(
    "config",
    [
        SplitConfig(),
        SplitConfig("dates", validation_from=date(2020, 1, 1), test_from=date(2020, 2, 1), as_of=date(2020, 3, 1)),
    ],
)
def test_a_config_survives_json(config: SplitConfig) -> None:
    assert SplitConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    assert SplitConfig.from_dict({"by": config.by, **config.as_dict()}) == config


@pytest.mark.parametrize(
    ("moments", "config", "message"),
    [
        ([], SplitConfig(), "no events"),
        ([1], SplitConfig(), "too few"),
        ([1, 1, 1, 1, 1, 1, 1, 2, 2, 2], SplitConfig(), "share one moment"),
        ([0, 90 * DAY], SplitConfig("days", min_history_days=30), "29.0 days of history, and needs 30"),
        ([0, 30 * DAY], SplitConfig("days"), "needs some"),
    ],
)
@engines
def test_too_little_history_is_refused(engine: Engine, moments: list[int], config: SplitConfig, message: str) -> None:
    with pytest.raises(TailorbirdError, match=message):
        split(engine(moments), config)


def test_the_same_split_of_later_events_is_by_as_many_days() -> None:
    dates = {"validation_from": date(2017, 11, 1), "test_from": date(2017, 12, 1), "as_of": date(2018, 1, 1)}
    assert SplitConfig(by="dates", **dates).later() == SplitConfig(by="days", validation_days=30, test_days=31)
    shares = SplitConfig(shares=(0.5, 0.25, 0.25), as_of=date(2018, 1, 1))
    assert shares.later() == SplitConfig(shares=(0.5, 0.25, 0.25))
