import pytest

from serving.stores import outages
from serving.stores.outages import CircuitBreaker


def test_after_failures_in_a_row_one_caller_at_a_time_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(outages, "monotonic", lambda: now)
    breaker = CircuitBreaker(failures=3, seconds=1.0)
    for _ in range(2):
        assert breaker.allows()
        breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert breaker.is_open
    assert not breaker.allows()
    now += 1.01
    assert breaker.allows()
    assert not breaker.allows()
    breaker.succeeded()
    assert breaker.allows()
    assert not breaker.is_open


def test_failures_between_successes_do_not_add_up() -> None:
    breaker = CircuitBreaker(failures=2)
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    assert breaker.allows()
