"""What a reviewer reads before deciding on a version: one page that works offline."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.evaluation.comparison.example_users import Example
from models.evaluation.comparison.metric_table import Line, format_estimate
from models.gate.results import Check, GroupResult, Outcome
from models.primitives.escaping import for_page

_TEMPLATE: Final = "review.j2"
BOUGHT: Final = 15
"""So many of a user's purchases are listed, and the number of the others."""


@dataclass(frozen=True)
class Plot:
    """A picture with what to look for in it."""

    title: str
    about: str
    path: Path
    """A PNG; there may be none."""

    @property
    def data(self) -> str:
        """The picture as an address that asks nobody; empty without one."""
        return f"data:image/png;base64,{b64encode(self.path.read_bytes()).decode()}" if self.path.is_file() else ""


@dataclass(frozen=True)
class Page:
    """Everything on it."""

    version: int
    kind: str
    about: str
    material: str
    passed: bool
    verdict: str
    checks: Sequence[Check]
    models: Sequence[str]
    """Columns of the tables: the candidate, whom it is held against if there is anybody, the others."""
    reference: str | None
    against: str
    """The same in a sentence."""
    figures: Mapping[str, Sequence[Line]]
    """By the titles of the tables."""
    groups: Sequence[GroupResult]
    plots: Sequence[Plot]
    group_plot: Plot
    examples: Sequence[Example]
    titles: Mapping[str, str]
    """Of the items on it."""
    limits: Sequence[str]
    facts: Mapping[str, str]
    settings: Mapping[str, str]
    libraries: Mapping[str, str]
    links: Mapping[str, str]
    """Addresses by what they lead to."""

    @property
    def ordered_checks(self) -> list[Check]:
        """The checks: refusals first, then warnings, questions that were not asked, and what passed."""
        order = (Outcome.REFUSED, Outcome.WARNING, Outcome.NOT_ASKED, Outcome.PASSED)
        return sorted(self.checks, key=lambda check: order.index(check.outcome))


def render(page: Page) -> str:
    """The page as HTML: whatever titles, settings and groups are called, it is text and nothing else."""
    text: str = (
        environment().get_template(_TEMPLATE).render(page=page, told=format_estimate, number=_number, most=BOUGHT)
    )
    return text


def _number(value: float) -> str:
    """Counts, shares and differences, each as short as it can be read."""
    if not isfinite(value):
        return "not measured"
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 1 else f"{value:.4f}"


@cache
def environment() -> Environment:
    """Return where templates are found; whatever is filled in is text, and what is missing is an error."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """Write out what hides or reorders text. What a macro made is HTML already, and its values came by here."""
    return for_page(value) if type(value) is str else value
