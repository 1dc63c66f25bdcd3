"""The checks of the gate, and their results."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import nan
from typing import Any, Final

from models.evaluation.metrics.bootstrap import ITEM_KINDS, LEVEL, Estimate
from models.evaluation.metrics.mlflow_names import GATE

BETTER: Final = "better than the champion"
"""The check with the gain over the champion that a candidate was compared with."""
_NOT_WORSE: Final = "not worse than "
_COMPARISON: Final = re.compile(f"{_NOT_WORSE}(.+?)({'|'.join(ITEM_KINDS.values())})")


class Outcome(StrEnum):
    """The outcome of a check. Only a refusal prevents a promotion."""

    PASSED = "passed"
    REFUSED = "refused"
    WARNING = "warning"
    """Beyond a limit that does not refuse: a person should examine it."""
    NOT_APPLICABLE = "not asked"
    """The data do not allow the check; the detail has the reason."""

    @property
    def mark(self) -> str:
        """Return the sign that stands before a check in lists."""
        return {"passed": "✓", "refused": "✗", "warning": "!", "not asked": "?"}[self.value]

    @property
    def heading(self) -> str:
        """Return the words that precede the detail of a warning or an inapplicable check."""
        return {"warning": "Warning. ", "not asked": "Not asked. "}.get(self.value, "")


def outcome(passed: bool) -> Outcome:
    """Return the outcome of a check that passes or refuses."""
    return Outcome.PASSED if passed else Outcome.REFUSED


def comparison_name(model: str, items: str) -> str:
    """Return the name of the check against a model on one kind of items, a value of `ITEM_KINDS`."""
    return f"{_NOT_WORSE}{model}{items}"


def stored_comparison(check: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the model and the kind of items of a stored comparison with its interval; None for any other check."""
    named = _COMPARISON.fullmatch(check["name"]) if check.get("low") is not None else None
    return (named[1], named[2]) if named else None


def stored_outcome(check: Mapping[str, object]) -> Outcome:
    """Return the outcome of a stored check. Older reviews stored only whether a check `passed`."""
    return Outcome(str(check["outcome"])) if "outcome" in check else outcome(bool(check["passed"]))


@dataclass(frozen=True)
class Check:
    """One check of the candidate, with its detail in a sentence."""

    name: str
    value: float
    """The measured value; for a comparison the mean difference per user."""
    limit: float
    outcome: Outcome
    detail: str
    low: float | None = None
    """The interval of the difference, for comparisons."""
    high: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the check applies and the value is within its limit."""
        return self.outcome is Outcome.PASSED

    @property
    def refused(self) -> bool:
        """Whether the check prevents a promotion."""
        return self.outcome is Outcome.REFUSED


@dataclass(frozen=True)
class GroupResult:
    """The candidate and the reference on the users with one value of a trait."""

    trait: str
    value: str
    """`unknown` for users without the trait."""
    users: int
    reference: float
    """Mean metric of the reference; then the candidate's."""
    candidate: float
    difference: float
    """Difference of the means, with a paired bootstrap interval."""
    low: float
    high: float
    judged: bool
    """Whether the group has enough users to be judged."""
    passed: bool


@dataclass(frozen=True)
class GateResult:
    """The gate's decision with its checks."""

    passed: bool
    checks: tuple[Check, ...]
    groups: tuple[GroupResult, ...] = ()

    @property
    def figures(self) -> dict[str, float]:
        """Return the number of checks by outcome, and the least gain of a group of users, by their names in MLflow."""
        counts = Counter(check.outcome for check in self.checks)
        gained = [group.difference for group in self.groups if group.judged]
        fairness = {"fairness/least_gain_of_a_group": min(gained)} if gained else {}
        return {f"{GATE}/{outcome.name.lower()}": float(counts[outcome]) for outcome in Outcome} | fairness


def gate_result(checks: Sequence[Check], groups: Sequence[GroupResult] = ()) -> GateResult:
    """Return the decision: a single refusal refuses the candidate."""
    return GateResult(not any(check.refused for check in checks), tuple(checks), tuple(groups))


def compared(name: str, estimate: Estimate, limit: float, passed: bool, verdict: str) -> Check:
    """Return a check of a difference with its interval."""
    value, low, high = estimate
    detail = f"{value:+.4f} a user, {LEVEL:.0%} interval {low:+.4f} to {high:+.4f}: {verdict}."
    return Check(name, value, limit, outcome(passed), detail, low, high)


def at_most(name: str, value: float, limit: float, detail: str) -> Check:
    """Return a check that a value is at most its limit; NaN does not pass."""
    return Check(name, value, limit, outcome(bool(value <= limit)), detail)


def at_least(name: str, value: float, limit: float, detail: str) -> Check:
    """Return a check that a value is at least its limit; NaN does not pass."""
    return Check(name, value, limit, outcome(bool(value >= limit)), detail)


def not_applicable(name: str, reason: str) -> Check:
    """Return a check that the data do not allow, with the reason."""
    return Check(name, nan, nan, Outcome.NOT_APPLICABLE, reason)
