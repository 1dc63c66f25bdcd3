"""Reads an experiment: changes with intervals, the sentence that may be claimed, and harm that has to stop it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from models.experiments.checks import Check
from models.experiments.estimates import Difference, Interval, Moments, difference
from models.experiments.metrics import WORDS
from models.experiments.sequential import ALPHA, limits

_LEAST_ANSWERS: Final = 200
_MONEY: Final = ("conversion", "revenue_per_user")
_ERRORS: Final = 0.02
"""How much more of a variant's answers may fail, as a share."""
_FALLBACKS: Final = 0.10
"""How much more of a variant's answers may come from fallbacks, as a share."""
_TIMES_SLOWER: Final = 2.0
_SLOW_SECONDS: Final = 0.1
"""A variant below this is never too slow."""
_COVERAGE: Final = 0.5
"""The least share of the control's different items that a variant's lists have to show."""


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


@dataclass(frozen=True)
class Service:
    """How the answers of one variant were served."""

    answers: int = 0
    fallbacks: int = 0
    """Answers from best sellers or from earlier answers, in place of the variant's lists."""
    failed: int = 0
    slowest: float | None = None
    """Seconds that 95 of 100 answers took at most; None if no server measured them."""
    coverage: float | None = None
    """The share of items that are on a list; None for variants that show best sellers on purpose."""


def harm(readout: Readout, control: Service, variant: Service) -> str:
    """Return the first guardrail that a variant violates, as a sentence; empty if it violates none."""
    for change in readout.changes:
        if change.metric in _MONEY and change.verdict == "worse":
            low, high = change.interval.low, change.interval.high
            return f"{readout.variant} changed {WORDS[change.metric]} by {low:+.1%} to {high:+.1%}."
    if min(control.answers, variant.answers) >= _LEAST_ANSWERS:
        for words, most, own, other in (
            ("failed", _ERRORS, variant.failed, control.failed),
            ("came from a fallback", _FALLBACKS, variant.fallbacks, control.fallbacks),
        ):
            shares = own / variant.answers, other / control.answers
            if shares[0] > shares[1] + most:
                return f"{shares[0]:.1%} of the answers of {readout.variant} {words}, {shares[1]:.1%} of the control's."
        if variant.slowest is not None and control.slowest is not None:
            allowed = max(_SLOW_SECONDS, _TIMES_SLOWER * control.slowest)
            if variant.slowest > allowed:
                return f"{readout.variant} takes {variant.slowest:.3f} s for an answer; {allowed:.3f} s are allowed."
    if variant.coverage is not None and control.coverage and variant.coverage < _COVERAGE * control.coverage:
        shown = f"{variant.coverage:.1%} of the items, the control's {control.coverage:.1%}"
        return f"The lists of {readout.variant} show {shown}."
    return ""
