"""Renders the page that a reviewer reads before a decision; it works offline."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.evaluation.comparison import format_estimate
from models.evaluation.example_users import Example
from models.gate.model_card import ReviewSummary, about, weaknesses
from models.gate.results import Check, Outcome
from models.primitives.escaping import for_page

_TEMPLATE: Final = "review.j2"
BOUGHT: Final = 15
"""Number of a user's purchases that are listed; the others are counted."""


@dataclass(frozen=True)
class Plot:
    """A picture with a hint on how to read it."""

    title: str
    about: str
    path: Path
    """A PNG, which may be missing."""

    @property
    def data(self) -> str:
        """Return the picture as a data URL; empty without one."""
        return f"data:image/png;base64,{b64encode(self.path.read_bytes()).decode()}" if self.path.is_file() else ""


@dataclass(frozen=True)
class Page:
    """The content of the page."""

    version: ReviewSummary
    material: str
    """What the version learned from, in sentences."""
    plots: Sequence[Plot]
    group_plot: Plot
    examples: Sequence[Example]
    titles: Mapping[str, str]
    """The titles of the items on the page."""
    facts: Mapping[str, str]
    settings: Mapping[str, str]
    libraries: Mapping[str, str]
    links: Mapping[str, str]
    """Addresses by the name of their target."""

    @property
    def ordered_checks(self) -> list[Check]:
        """Return the checks: refusals first, then warnings, questions not asked, and passed ones."""
        order = (Outcome.REFUSED, Outcome.WARNING, Outcome.NOT_APPLICABLE, Outcome.PASSED)
        return sorted(self.version.gate.checks, key=lambda check: order.index(check.outcome))


def render(page: Page) -> str:
    """Return the page as HTML. Titles, settings and names of groups are escaped."""
    version = page.version
    return (
        environment()
        .get_template(_TEMPLATE)
        .render(
            page=page,
            version=version,
            about=about(version.kind),
            limits=weaknesses(version.candidate.summary, version.gate),
            format_estimate=format_estimate,
            number=_number,
            most=BOUGHT,
        )
    )


def _number(value: float) -> str:
    """Return a count, share or difference in a short readable form."""
    if not isfinite(value):
        return "not measured"
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 1 else f"{value:.4f}"


@cache
def environment() -> Environment:
    """Return the template environment, which escapes all values and fails on missing ones."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: object) -> object:
    """Spell out characters that hide or reorder text. The output of macros is HTML already and was filtered before."""
    return for_page(value) if type(value) is str else value
