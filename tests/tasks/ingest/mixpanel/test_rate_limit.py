"""Requests stay below Mixpanel's limits."""

from dataclasses import dataclass, field

from tasks.ingest.mixpanel.client import RateLimit


@dataclass
class Clock:
    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def sent(limit: RateLimit, clock: Clock, number: int) -> list[float]:
    times = []
    for _ in range(number):
        limit.wait()
        times.append(clock.now)
    return times


def test_three_requests_a_second_and_sixty_an_hour_are_sent() -> None:
    clock = Clock()
    times = sent(RateLimit(clock, clock.sleep), clock, 130)
    assert times[:4] == [1000, 1000, 1000, 1001]
    assert all(later - earlier >= 1 for earlier, later in zip(times, times[3:], strict=False))
    assert all(later - earlier >= 3600 for earlier, later in zip(times, times[60:], strict=False))
    assert times[60] == 4600
    assert times[-1] < 1000 + 2 * 3600 + 60


def test_seldom_requests_are_sent_at_once() -> None:
    clock = Clock()
    limit = RateLimit(clock, clock.sleep)
    for _ in range(200):
        limit.wait()
        clock.now += 61
    assert clock.pauses == []
