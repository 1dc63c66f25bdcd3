"""What the gate asks, and what it found."""

from dataclasses import dataclass

from models.evaluation.bootstrap import LEVEL, Estimate


@dataclass(frozen=True)
class Check:
    """One question to the candidate, and its answer in a sentence."""

    name: str
    value: float
    """What was measured; for a comparison the mean difference per user."""
    limit: float
    passed: bool
    detail: str
    low: float | None = None
    """The interval of the difference, for comparisons."""
    high: float | None = None


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
class Gate:
    """The decision with everything it rests on."""

    passed: bool
    checks: tuple[Check, ...]
    groups: tuple[GroupResult, ...] = ()


def compared(name: str, found: Estimate, limit: float, passed: bool, verdict: str) -> Check:
    """A check of a difference with its interval."""
    value, low, high = found
    detail = f"{value:+.4f} a user, {LEVEL:.0%} interval {low:+.4f} to {high:+.4f}: {verdict}."
    return Check(name, value, limit, passed, detail, low, high)


def at_most(name: str, value: float, limit: float, detail: str) -> Check:
    """A check of a figure that may not be above its limit; what was not measured does not pass."""
    return Check(name, value, limit, bool(value <= limit), detail)


def at_least(name: str, value: float, limit: float, detail: str) -> Check:
    """A check of a figure that may not be below its limit; what was not measured does not pass."""
    return Check(name, value, limit, bool(value >= limit), detail)
