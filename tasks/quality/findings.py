"""Defines the results of a batch's validation, as the ledger stores them."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict


class Finding(TypedDict):
    """The result of one rule or figure of a batch."""

    suite: str
    rule_id: str
    expectation: str
    passed: bool
    broken: int | None
    """How many rows break the rule; None if it could not be evaluated."""
    of: int | None
    """How many rows were checked."""
    rows: list[int]
    """The numbers of the first rows that break the rule, from 1."""
    value: float | None
    """The figure; None for a rule on rows."""
    share: NotRequired[float | None]
    """The share of the rows to which a rule applies that break it; None if it applies to none."""
    warns: NotRequired[bool]
    """Whether a failure is only a warning."""
    allowed: NotRequired[str]
    """The limit, as a phrase."""
    setting: NotRequired[str]
    """The key of a mapping that sets the limit."""


Findings = list[Finding]


def refuses(finding: Finding) -> bool:
    """Return whether a finding refuses its batch."""
    return not finding["passed"] and not finding.get("warns", False)


def first_refused(verdicts: Sequence[Findings]) -> int:
    """Return the position of the first refused batch, or the number of batches if none is refused."""
    return next((place for place, findings in enumerate(verdicts) if any(map(refuses, findings))), len(verdicts))


def reason(finding: Finding) -> str:
    """Return why a finding fails, as a phrase."""
    if finding["broken"] is None:
        return "it could not be evaluated"
    allowed = f", {finding['allowed']} is allowed" if finding.get("allowed") else ""
    if finding["value"] is not None:
        return f"it is {finding['value']:.4g}{allowed}"
    plural = "s" if len(finding["rows"]) > 1 else ""
    rows = f"; row{plural} {', '.join(map(str, finding['rows']))}" if finding["rows"] else ""
    return f"{finding['broken']} of {finding['of']}{allowed}{rows}"
