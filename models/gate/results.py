"""What the gate asks, and what it found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import nan
from typing import Any, Final

from models.evaluation.metrics.bootstrap import LEVEL, Estimate

BETTER: Final = "better than the champion"
"""The check with the gain over the champion that a candidate was compared with."""


class Outcome(StrEnum):
    """How a question ended. Only a refusal keeps a candidate from being promoted."""

    PASSED = "passed"
    REFUSED = "refused"
    WARNING = "warning"
    """Beyond a limit that does not refuse: a person should look at it."""
    NOT_ASKED = "not asked"
    """The data cannot answer the question; the detail has the reason."""

    @property
    def mark(self) -> str:
        """Return the sign that stands before a check in lists."""
        return {"passed": "✓", "refused": "✗", "warning": "!", "not asked": "?"}[self.value]

    @property
    def heading(self) -> str:
        """Return what a sentence begins with, so that a warning or a question not asked is read as one."""
        return {"warning": "Warning. ", "not asked": "Not asked. "}.get(self.value, "")


def outcome(passed: bool) -> Outcome:
    """Return the outcome of a question whose answer refuses."""
    return Outcome.PASSED if passed else Outcome.REFUSED


def stored_outcome(check: Mapping[str, Any]) -> Outcome:
    """Return the outcome of a stored check. Reviews before there were warnings stored whether a check `passed`."""
    return Outcome(check["outcome"]) if "outcome" in check else outcome(check["passed"])


@dataclass(frozen=True)
class Check:
    """One question to the candidate, and its answer in a sentence."""

    name: str
    value: float
    """What was measured; for a comparison the mean difference per user."""
    limit: float
    outcome: Outcome
    detail: str
    low: float | None = None
    """The interval of the difference, for comparisons."""
    high: float | None = None

    @property
    def passed(self) -> bool:
        """Was it asked, and is the answer within its limit?"""
        return self.outcome is Outcome.PASSED

    @property
    def refused(self) -> bool:
        """Does it keep the candidate from being promoted?"""
        return self.outcome is Outcome.REFUSED


@dataclass(frozen=True)
class GroupResult:
    """How the candidate serves the people with one value of a trait, beside the reference."""

    trait: str
    value: str
    """`unknown` for those of whom the trait is not known."""
    users: int
    reference: float
    """Mean of the reference's figures, and of the candidate's."""
    candidate: float
    difference: float
    """Its interval is by paired bootstrap."""
    low: float
    high: float
    judged: bool
    """Enough people to be judged by."""
    passed: bool


@dataclass(frozen=True)
class GateResult:
    """The decision with everything it rests on."""

    passed: bool
    checks: tuple[Check, ...]
    groups: tuple[GroupResult, ...] = ()


def gate_result(checks: Sequence[Check], groups: Sequence[GroupResult] = ()) -> GateResult:
    """Return the decision that follows from the checks."""
    return GateResult(not any(check.refused for check in checks), tuple(checks), tuple(groups))


def compared(name: str, estimate: Estimate, limit: float, passed: bool, verdict: str) -> Check:
    """A check of a difference with its interval."""
    value, low, high = estimate
    detail = f"{value:+.4f} a user, {LEVEL:.0%} interval {low:+.4f} to {high:+.4f}: {verdict}."
    return Check(name, value, limit, outcome(passed), detail, low, high)


def at_most(name: str, value: float, limit: float, detail: str) -> Check:
    """A check of a figure that may not be above its limit; what was not measured does not pass."""
    return Check(name, value, limit, outcome(bool(value <= limit)), detail)


def at_least(name: str, value: float, limit: float, detail: str) -> Check:
    """A check of a figure that may not be below its limit; what was not measured does not pass."""
    return Check(name, value, limit, outcome(bool(value >= limit)), detail)


def not_applicable(name: str, reason: str) -> Check:
    """A question that the data cannot answer, and why."""
    return Check(name, nan, nan, Outcome.NOT_ASKED, reason)
