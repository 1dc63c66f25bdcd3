"""Computes latency quantiles from histogram counters that only grow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, nan


@dataclass(frozen=True)
class RequestCounts:
    """Requests answered within each bound (seconds, the last one infinite), and the number of errors."""

    within: Mapping[float, float] = field(default_factory=dict)
    errors: float = 0

    @property
    def count(self) -> float:
        """The number of all requests."""
        return max(self.within.values(), default=0)

    @property
    def error_share(self) -> float:
        """The share of server errors; 0 without requests."""
        return self.errors / self.count if self.count else 0.0

    def __add__(self, other: "RequestCounts") -> "RequestCounts":
        bounds = {*self.within, *other.within}
        within = {bound: self.within.get(bound, 0) + other.within.get(bound, 0) for bound in bounds}
        return RequestCounts(within, self.errors + other.errors)

    def since(self, before: "RequestCounts") -> "RequestCounts":
        """Return the requests since earlier counts; all of them if a restart has reset the counters."""
        within = {bound: count - before.within.get(bound, 0) for bound, count in self.within.items()}
        errors = self.errors - before.errors
        return self if min([errors, *within.values()]) < 0 else RequestCounts(within, errors)

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
