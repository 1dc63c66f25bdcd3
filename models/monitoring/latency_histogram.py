"""Computes latency quantiles from histogram counters that only grow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, nan


@dataclass(frozen=True)
class RequestCounts:
    """Requests answered within each bound (seconds, the last one infinite), and how many the server failed or shed."""

    within: Mapping[float, float] = field(default_factory=dict)
    server_errors: float = 0
    """Responses with a 5xx status, with those that were shed."""
    shed: float = 0
    """Requests that were refused at once, because the server was busy with others."""

    @property
    def count(self) -> float:
        """The number of all requests."""
        return max(self.within.values(), default=0)

    @property
    def error_share(self) -> float:
        """The share of requests that failed, without those that were shed; 0 without requests."""
        return max(self.server_errors - self.shed, 0.0) / self.count if self.count else 0.0

    @property
    def shed_share(self) -> float:
        """The share of requests that were shed; 0 without requests."""
        return self.shed / self.count if self.count else 0.0

    @property
    def p99_ms(self) -> float:
        """The milliseconds in which 99 of 100 requests were answered; NaN without requests."""
        return 1000 * self.quantile(0.99)

    def __add__(self, other: "RequestCounts") -> "RequestCounts":
        bounds = {*self.within, *other.within}
        within = {bound: self.within.get(bound, 0) + other.within.get(bound, 0) for bound in bounds}
        return RequestCounts(within, self.server_errors + other.server_errors, self.shed + other.shed)

    def since(self, before: "RequestCounts") -> "RequestCounts":
        """Return the requests since earlier counts; all of them if a restart has reset the counters."""
        within = {bound: count - before.within.get(bound, 0) for bound, count in self.within.items()}
        errors, shed = self.server_errors - before.server_errors, self.shed - before.shed
        return self if min([errors, shed, *within.values()]) < 0 else RequestCounts(within, errors, shed)

    def quantile(self, share: float) -> float:
        """Return the seconds within which the share was answered, interpolated linearly within its bucket.

        Beyond the last finite bound it is that bound. NaN without requests.
        """
        steps = [(0.0, 0.0), *sorted(self.within.items())]
        rank = share * self.count
        for (low, below), (high, up_to) in pairwise(steps):
            if up_to >= rank and up_to > below:
                return low if high == inf else low + (high - low) * (rank - below) / (up_to - below)
        return nan
