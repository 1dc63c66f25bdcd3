"""Reads an experiment: the change of each metric with its interval, and the sentence that may be claimed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from models.experiments.checks import Check
from models.experiments.estimates import Difference, Interval, Moments, difference
from models.experiments.metrics import WORDS
from models.experiments.sequential import ALPHA, limits


@dataclass(frozen=True)
class Change:
    """What a variant changed of one metric."""

    metric: str
    difference: Difference
    interval: Interval
    limit: float
    """In normal deviates, at this look."""

    @property
    def verdict(self) -> str:
        """Return `better`, `worse`, or `not shown`."""
        if abs(self.difference.z) < self.limit:
            return "not shown"
        return "better" if self.difference.z > 0 else "worse"


@dataclass(frozen=True)
class Readout:
    """The state of an experiment at one look."""

    control: str
    variant: str
    changes: Sequence[Change]
    checks: Sequence[Check]

    @property
    def claim(self) -> str:
        """The sentence of the first metric. It states a change only when every check passed and the change is shown."""
        failed = [check.name for check in self.checks if not check.passed]
        if failed:
            return f"Nothing can be claimed: {', '.join(failed)} failed."
        first = self.changes[0]
        words = WORDS.get(first.metric, first.metric)
        if first.verdict == "not shown" or not isfinite(first.interval.change):
            return f"No change of {words} is shown between {self.variant} and {self.control}."
        change, low, high = first.interval
        return (
            f"{self.variant} changed {words} by {change:+.1%} against {self.control} "
            f"(between {low:+.1%} and {high:+.1%})."
        )


def read(
    control: str,
    variant: str,
    metrics: Mapping[str, tuple[Moments, Moments]],
    looks: Sequence[float],
    checks: Sequence[Check] = (),
    alpha: float = ALPHA,
) -> Readout:
    """Return the changes of all metrics (of the control and of the variant) at the last of these looks.

    `looks` are the shares of the planned users or days at all looks so far, ascending in (0, 1]. The intervals hold at
    every look, and for all metrics together: each has its part of `alpha` (Bonferroni). The first metric is the one
    that the experiment is decided by.
    """
    limit = float(limits(looks, alpha / len(metrics))[-1])
    changes = []
    for metric, (before, after) in metrics.items():
        found = difference(before, after)
        changes.append(Change(metric, found, found.interval(limit), limit))
    return Readout(control, variant, changes, checks)
