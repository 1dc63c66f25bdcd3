"""What people read of an audit: one page that works offline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from models.evaluation.metrics.bootstrap import Estimate
from models.gate.thresholds import GateThresholds
from models.monitoring.audit.group_metrics import GroupFigures
from models.monitoring.audit.report import Audit
from models.primitives.escaping import for_markdown
from tasks.reports.review_page import Plot, environment

_TEMPLATE: Final = "audit.j2"
FIGURES: Final = {
    "recall": "recall@10",
    "hit_rate": "hit rate",
    "ndcg": "NDCG@10",
    "percentile": "popularity",
    "lift": "popularity lift",
    "miscalibration": "miscalibration",
}
"""Columns of the table of groups."""
CONTROLS: Final = {name: f"control_{name}" for name in ("recall", "hit_rate", "ndcg")}
"""The same figure of the list that everybody would have got."""


@dataclass(frozen=True)
class AuditPage:
    """Everything on it."""

    placement: str
    start: float
    """Epoch seconds."""
    end: float
    versions: Sequence[int]
    found: Audit
    limits: GateThresholds
    plots: Sequence[Plot]
    facts: Mapping[str, str]
    links: Mapping[str, str]
    """Addresses by what they lead to."""

    @property
    def span(self) -> str:
        """From when to when, in words."""
        return f"{_day(self.start)} to {_day(self.end)}"


def render(page: AuditPage) -> str:
    """The page as HTML: whatever groups, categories and placements are called, it is text and nothing else."""
    known = {name: label for name, label in FIGURES.items() if page.found.groups[0].figures.get(name) is not None}
    template = environment().get_template(_TEMPLATE)
    text: str = template.render(page=page, found=page.found, figures=known, controls=CONTROLS, said=_said)
    return text


def rows(found: Audit) -> list[dict[str, Any]]:
    """The groups as a table for people, one line each."""
    return [_row(group) for group in found.groups]


def markdown(page: AuditPage, address: str) -> str:
    """The verdict, the table of groups, and where the page is."""
    table = rows(page.found)
    lines = [" | ".join(map(cell, row.values())) for row in table]
    head = [" | ".join(table[0]), " | ".join("---" for _ in table[0])]
    told = f"**{page.found.status}**: {cell(page.found.verdict)}"
    about = f"# What was served at {cell(page.placement)}, {page.span}"
    return "\n".join(
        [about, "", told, "", f"[The whole audit]({address})", "", *(f"| {line} |" for line in [*head, *lines])]
    )


def _row(group: GroupFigures) -> dict[str, Any]:
    told = {label: _said(group.figures.get(name)) for name, label in FIGURES.items()}
    return {"trait": group.trait, "group": group.value, "people": group.users, "bought": group.acted} | told


def _said(figure: Estimate | None) -> str:
    """A figure with its interval; a dash for none."""
    return "-" if figure is None else f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


def cell(value: Any) -> str:
    """Return a value as a cell of a Markdown table: whatever it holds, it is text."""
    return f"{value:,}" if isinstance(value, int) else for_markdown(str(value))


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%-d %B %Y")
