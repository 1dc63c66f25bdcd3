"""Tests when drift requests a retraining, and the reasons that it gives otherwise."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.columns import EVENT_TYPES
from models.features.tables.registry import TABLES
from models.monitoring.drift.dataset_distance import STATIONARY_FEATURES, distance, shift
from models.monitoring.drift.feed_health import check_feed, within
from models.monitoring.drift.monitor_settings import DriftMonitorConfig
from models.monitoring.drift.retrain_policy import DriftSituation, RetrainHistory, decide, verdict
from models.monitoring.drift.signals.user_counts import PLACE, WIDTH
from models.monitoring.drift.window_verdict import SignalReading, WindowJudgement

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WATCH = DriftMonitorConfig()
RANDOM = np.random.default_rng(3)
THEN = RANDOM.normal(size=20_000)


def judgement(deviation: float) -> WindowJudgement:
    return WindowJudgement(
        [SignalReading("taste", "what people like", 0.1, 0.5, None, deviation, counted=True)], deviation, 3.0
    )


def drifted(**answer: Any) -> DriftSituation:
    """Return the second window in a row that drifted, with no objection to a retraining beside the given ones."""
    sound = within("volume", 100.0, 50.0, 300.0, "100 events, usually 100")
    usual: dict[str, Any] = {
        "feed": [sound],
        "insufficient_data": "",
        "earlier": [True],
        "newest": True,
        "labelled": 5_000.0,
    }
    return DriftSituation(**{"judgement": judgement(9.0), "retrains": RetrainHistory(), **usual, **answer})


def test_two_windows_out_of_their_band_ask_for_retraining_and_name_what_drove_them() -> None:
    result = decide(drifted(), WATCH, NOW)
    assert result.kind == "retrain"
    assert result.reasons == [
        "The joint statistic is 9.00, its limit 3.00; it was driven by taste.",
        "2 of the last 2 windows left their band, the latest among them.",
    ]


AGAINST = {
    "Request 7 is open: one retraining at a time.": {"retrains": RetrainHistory(open_request=7)},
    "There are 199 labelled events since the champion's training data, and 200 are needed for a retraining.": {
        "labelled": 199.0
    },
    "The last retraining has just ended: drift can request the next one from 2026-03-02 00:00 UTC.": {
        "retrains": RetrainHistory(finished_at=NOW - timedelta(days=2))
    },
    "The last retraining has just ended; 2 challengers in a row did not win: drift can request the next one from "
    "2026-03-03 00:00 UTC.": {"retrains": RetrainHistory(finished_at=NOW - timedelta(days=10), lost=2)},
    "Drift has made 2 requests in seven days, its whole budget.": {"retrains": RetrainHistory(requests_this_week=2)},
    "A later window is complete already; its report decides.": {"newest": False},
    "1 of the last 2 windows left their band: 2 of 5 are needed.": {"earlier": [False]},
}


@pytest.mark.parametrize(("reason", "answer"), AGAINST.items(), ids=AGAINST)
def test_a_reason_against_retraining_is_named(reason: str, answer: dict[str, Any]) -> None:
    result = decide(drifted(**answer), WATCH, NOW)
    assert (result.kind, result.reasons[-1]) == ("none", reason)


@pytest.mark.parametrize(("lost", "days"), [(0, 3), (1, 6), (3, 24), (9, 24)])
def test_each_challenger_that_did_not_win_doubles_the_pause_up_to_eight_times(lost: int, days: int) -> None:
    ended = RetrainHistory(finished_at=NOW - timedelta(days=days), lost=lost)
    assert decide(drifted(retrains=ended), WATCH, NOW).kind == "retrain"
    assert decide(drifted(retrains=ended), WATCH, NOW - timedelta(seconds=1)).kind == "none"


def test_windows_that_left_their_band_too_long_ago_do_not_count() -> None:
    assert decide(drifted(earlier=[True, False, False, False]), WATCH, NOW).kind == "retrain"
    assert decide(drifted(earlier=[True, False, False, False, False]), WATCH, NOW).kind == "none"


def test_a_broken_feed_blocks_whatever_else_there_is() -> None:
    damaged = within("nulls: value", 1.0, None, 0.005, "100.00% events without value, usually 0.00%")
    now = drifted(feed=[damaged], insufficient_data="3 active users")
    assert verdict(now) == "invalid_feed"
    result = decide(now, WATCH, NOW)
    assert result.kind == "blocked"
    assert result.reasons[1:] == ["nulls: value: 100.00% events without value, usually 0.00%"]


def test_a_thin_window_decides_nothing_however_far_off_it_is() -> None:
    now = drifted(insufficient_data="3 active users in the window: too few to judge it.")
    assert verdict(now) == "insufficient_data"
    assert decide(now, WATCH, NOW).reasons == [now.insufficient_data]


def test_a_window_inside_its_band_is_steady_whatever_was_before() -> None:
    now = replace(drifted(earlier=[True] * 4), judgement=judgement(2.0))
    result = decide(now, WATCH, NOW)
    assert (verdict(now), result.kind) == ("stable", "none")
    assert result.reasons == ["The joint statistic is 2.00, its limit 3.00: all signals are in their usual range."]


def test_a_column_has_moved_as_far_as_its_values_are_elsewhere() -> None:
    assert distance(THEN, THEN) == 0
    assert distance(THEN, RANDOM.normal(size=20_000)) < 0.02
    assert distance(THEN[THEN < 0], THEN[THEN > 0] + 1) == pytest.approx(0.9)  # the last tenth has no upper end
    moved = np.where(RANDOM.random(20_000) < 0.1, 100.0, THEN)
    assert distance(THEN, moved) == pytest.approx(0.09, abs=0.01)


def test_missing_values_and_values_that_are_all_alike_are_compared_too() -> None:
    assert distance(THEN, np.full(10, np.nan)) == 1
    assert distance(np.full(10, np.nan), np.full(5, np.nan)) == 0
    assert distance(np.ones(10), np.ones(5)) == 0
    assert distance(np.ones(10), np.zeros(5)) == 1


def test_users_have_moved_by_the_mean_of_their_steady_features() -> None:
    then = pa.table(dict.fromkeys(STATIONARY_FEATURES, THEN))
    one_moved = then.set_column(0, STATIONARY_FEATURES[0], pa.array(THEN + 100))
    assert shift(then, one_moved) == pytest.approx(0.9 / len(STATIONARY_FEATURES))
    assert set(STATIONARY_FEATURES) <= {feature.name for feature in TABLES["user_features"].features}


def test_a_shop_with_purchases_only_usually_has_as_many_events_as_purchases() -> None:
    usual = np.zeros((4, WIDTH))
    usual[:, PLACE["types"].start + EVENT_TYPES.index("purchase")] = [1_000, 2_000, 4_000, 1_000]
    stated = {one.check: one.detail for one in check_feed(np.zeros(WIDTH), usual, (0, 20))}
    assert stated["volume"] == "0 events, usually 2,000"
    assert stated["type: purchase"] == "0 events of type purchase, usually 2,000"
