"""Decides whether a variant harms so much that its experiment has to stop at once."""

from dataclasses import dataclass
from typing import Final

from models.experiments.metrics import WORDS
from models.experiments.readout import Readout

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
