"""Tests latency quantiles from counters."""

from math import inf, isnan

from hypothesis import given
from hypothesis import strategies as st

from models.monitoring.latency_histogram import RequestCounts

TEN = RequestCounts({0.1: 5, 0.2: 9, inf: 10}, server_errors=1)


def test_a_quantile_lies_within_its_bucket_as_if_answers_were_spread_evenly() -> None:
    assert TEN.quantile(0.5) == 0.1
    assert TEN.quantile(0.25) == 0.05
    assert round(TEN.quantile(0.7), 9) == 0.15
    assert TEN.quantile(0.9) == 0.2
    assert TEN.quantile(0.99) == 0.2  # beyond the last bound nothing is known
    assert isnan(RequestCounts().quantile(0.99))


def test_requests_between_two_looks_are_counted_and_a_restart_begins_at_zero() -> None:
    later = RequestCounts({0.1: 6, 0.2: 10, inf: 20}, server_errors=5)
    assert later.since(TEN) == RequestCounts({0.1: 1, 0.2: 1, inf: 10}, server_errors=4)
    assert later.since(TEN).error_share == 0.4
    assert TEN.since(later) == TEN
    assert later.since(later).count == 0
    assert RequestCounts().error_share == 0


@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_of_any_answers_is_in_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    bounds = [0.01, 0.05, 0.25, 1.0, 5.0, inf]
    seen = RequestCounts({bound: sum(second <= bound for second in seconds) for bound in bounds})
    expected = share * len(seconds)
    true = sorted(seconds)[max(0, -int(-expected // 1) - 1)]
    low, high = max([0.0, *(b for b in bounds if b < true)]), min(b for b in bounds if b >= true)
    assert low - 1e-9 <= seen.quantile(share) <= high + 1e-9


def test_shed_requests_are_no_errors_and_have_a_share_of_their_own() -> None:
    busy = RequestCounts({0.1: 2, 0.2: 2, inf: 10}, server_errors=3, shed=2)
    assert (busy.error_share, busy.shed_share) == (0.1, 0.2)
    assert (TEN + busy).since(TEN) == busy
    assert RequestCounts({inf: 20}, server_errors=5, shed=1).since(busy) == RequestCounts({inf: 20}, 5, 1)
