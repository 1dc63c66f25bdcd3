"""Defines the results of a batch's validation, as the ledger stores them."""

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
