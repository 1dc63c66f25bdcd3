"""Renders the page of an audit, which works offline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from models.evaluation.metrics.bootstrap import Estimate
from models.gate.thresholds import GateThresholds
from models.monitoring.audit.figures import GroupFigures
from models.monitoring.audit.report import Audit
from models.primitives.escaping import for_markdown
from models.primitives.json_types import JsonObject
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
"""The same figure for one list that is equal for all people."""


@dataclass(frozen=True)
class AuditPage:
    """The content of the page."""

    placement: str
    start: float
    """Epoch seconds."""
    end: float
    versions: Sequence[int]
    audit: Audit
    limits: GateThresholds
    plots: Sequence[Plot]
    facts: Mapping[str, str]
    links: Mapping[str, str]
    """Addresses by the name of their target."""

    @property
    def span(self) -> str:
        """Return the period as text."""
        return f"{_day(self.start)} to {_day(self.end)}"


def render(page: AuditPage) -> str:
    """Return the page as HTML. Names of groups, categories and placements are escaped."""
    known = {name: label for name, label in FIGURES.items() if page.audit.groups[0].figures.get(name) is not None}
    template = environment().get_template(_TEMPLATE)
    text: str = template.render(
        page=page, audit=page.audit, figures=known, controls=CONTROLS, format_interval=_format_interval
    )
    return text


def rows(audit: Audit) -> list[JsonObject]:
    """Return a row with headings for each group."""
    return [_row(group) for group in audit.groups]


def markdown(page: AuditPage, address: str) -> str:
    """Return the verdict, the table of groups and the address of the page in Markdown."""
    table = rows(page.audit)
    lines = [" | ".join(map(cell, row.values())) for row in table]
    head = [" | ".join(table[0]), " | ".join("---" for _ in table[0])]
    verdict = f"**{page.audit.status}**: {cell(page.audit.verdict)}"
    title = f"# Served lists of {cell(page.placement)}, {page.span}"
    return "\n".join(
        [title, "", verdict, "", f"[The whole audit]({address})", "", *(f"| {line} |" for line in [*head, *lines])]
    )


def _row(group: GroupFigures) -> JsonObject:
    figures = {label: _format_interval(group.figures.get(name)) for name, label in FIGURES.items()}
    return {"trait": group.trait, "group": group.value, "people": group.users, "bought": group.acted} | figures


def _format_interval(figure: Estimate | None) -> str:
    """Return a figure with its interval, or a dash for none."""
    return "-" if figure is None else f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


def cell(value: object) -> str:
    """Return a value as an escaped cell of a Markdown table."""
    return f"{value:,}" if isinstance(value, int) else for_markdown(str(value))


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%-d %B %Y")
