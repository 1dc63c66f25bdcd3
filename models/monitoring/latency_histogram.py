"""How long answers take, out of counters that only grow: what came between two looks, and quantiles of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, nan


@dataclass(frozen=True)
class RequestCounts:
    """How many requests were answered within each bound (seconds, the last one infinite), and how many by an error."""

    within: Mapping[float, float] = field(default_factory=dict)
    errors: float = 0

    @property
    def count(self) -> float:
        """All of them."""
        return max(self.within.values(), default=0)

    @property
    def error_share(self) -> float:
        """The part that was answered by an error of the server; 0 of none."""
        return self.errors / self.count if self.count else 0.0

    def __add__(self, other: "RequestCounts") -> "RequestCounts":
        bounds = {*self.within, *other.within}
        within = {bound: self.within.get(bound, 0) + other.within.get(bound, 0) for bound in bounds}
        return RequestCounts(within, self.errors + other.errors)

    def since(self, before: "RequestCounts") -> "RequestCounts":
        """What came after an earlier look; everything, when the counters were set back by a restart since."""
        within = {bound: count - before.within.get(bound, 0) for bound, count in self.within.items()}
        errors = self.errors - before.errors
        return self if min([errors, *within.values()]) < 0 else RequestCounts(within, errors)

    def quantile(self, share: float) -> float:
        """The seconds within which that share was answered, as if answers lay evenly in their bucket.

        Beyond the last finite bound nothing is known: then it is that bound. NaN of no requests.
        """
        steps = [(0.0, 0.0), *sorted(self.within.items())]
        rank = share * self.count
        for (low, below), (high, up_to) in pairwise(steps):
            if up_to >= rank and up_to > below:
                return low if high == inf else low + (high - low) * (rank - below) / (up_to - below)
        return nan
