"""Renders the page of an audit, which works offline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from models.gate.thresholds import GateThresholds
from models.monitoring.audit.figures import GroupFigures
from models.monitoring.audit.report import Audit
from models.primitives.escaping import for_markdown
from models.primitives.json_types import JsonObject
from tasks.orchestration.run_artifacts import markdown_table
from tasks.reports.evaluation_plots import ALL, NEW, QUIET, drawn, format_estimate, group_rows, points
from tasks.reports.review_page import Plot, environment

_MOST: Final = 40
"""The number of groups that fit on a plot; the largest are shown."""
Draw = Callable[[Audit, Path], None]


def plot_accuracy(audit: Audit, path: Path) -> None:
    """Plot the observed NDCG by group, beside that of one list for all people."""
    beyond = {(group.trait, group.value) for group in audit.comparisons if not group.passed}
    groups = _with(audit, "ndcg")
    title = "Observed NDCG@10 by group"
    with group_rows(path, title, groups, "NDCG@10, 95 % interval") as axes:
        rows = [(row, group, (group.trait, group.value) in beyond) for row, group in enumerate(groups)]
        for label, colour, some in (
            ("as shown", ALL, [(row - 0.15, g.figures["ndcg"]) for row, g, worse in rows if not worse]),
            ("beyond the margin", "tab:red", [(row - 0.15, g.figures["ndcg"]) for row, g, worse in rows if worse]),
            ("best sellers instead", QUIET, [(row + 0.15, g.figures["control_ndcg"]) for row, g, _ in rows]),
        ):
            points(axes, some, label, colour)
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, frameon=False, fontsize="small")


def plot_lift(audit: Audit, path: Path) -> None:
    """Plot the popularity lift by group."""
    groups = _with(audit, "lift")
    with group_rows(path, "Popularity lift by group", groups, "0: as popular as what the group buys") as axes:
        points(axes, [(row, group.figures["lift"]) for row, group in enumerate(groups)], "", ALL)
        axes.axvline(0, color=QUIET, ls="--")


def plot_calibration(audit: Audit, path: Path) -> None:
    """Plot the miscalibration by group."""
    groups = _with(audit, "miscalibration")
    title = "Categories of lists compared with histories, by group"
    with group_rows(path, title, groups, "divergence in nats; 0: the same proportions") as axes:
        points(axes, [(row, group.figures["miscalibration"]) for row, group in enumerate(groups)], "", ALL)
        axes.set_xlim(0, None)


def plot_exposure(audit: Audit, path: Path) -> None:
    """Plot the shares of places of each tenth of the items by popularity."""
    names = [str(row["tenth"]) for row in audit.tenths]
    with drawn(path, "Places by popularity of the items", ylabel="share", ylim=(0, 1)) as axes:
        for shift, colour, label, shares in (
            (-0.2, ALL, "of the places that were shown", [row["shown"] for row in audit.tenths]),
            (0.2, NEW, "of all purchases", [row["bought"] for row in audit.tenths]),
        ):
            drawn_bars = axes.bar(np.arange(len(names)) + shift, shares, 0.38, color=colour, label=label)
            axes.bar_label(drawn_bars, [f"{share:.0%}" if share >= 0.005 else "" for share in shares], fontsize=8)
        axes.set_xticks(range(len(names)), names)
        axes.set_xlabel("tenth of the items, 1 = those that most people had bought")
        axes.legend()


PLOTS: Final[dict[str, tuple[str, str, Draw, str]]] = {
    "accuracy": (
        "Accuracy by group",
        "Purchases while a list was shown. Grey is the same figure for a list of best sellers: a group that is hard to "
        "predict is low in both.",
        plot_accuracy,
        "ndcg",
    ),
    "exposure": (
        "Places by popularity",
        "If lists follow what people buy, both bars of a tenth are alike.",
        plot_exposure,
        "percentile",
    ),
    "lift": (
        "Popularity lift",
        "The popularity of the shown items compared with the items that the group itself buys; 1 means twice as many "
        "buyers.",
        plot_lift,
        "lift",
    ),
    "calibration": (
        "Calibration",
        "The distance between the categories on lists and those that people buy; 0 means the same proportions.",
        plot_calibration,
        "miscalibration",
    ),
}
"""By file name: title, hint, drawing function, and the figure that it needs."""


def plot_audit(audit: Audit, folder: Path) -> None:
    """Draw the plots for which there are figures."""
    for name, (_, _, draw, needed) in PLOTS.items():
        if audit.groups[0].figures.get(needed) is not None:
            draw(audit, folder / f"{name}.png")


def _with(audit: Audit, name: str) -> list[GroupFigures]:
    """Return all people and the largest groups with this figure, in their order."""
    known = [group for group in audit.groups if group.figures.get(name) is not None]
    largest = sorted(known, key=lambda group: -group.users)[:_MOST]
    return [group for group in known if group in largest]


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
    return template.render(
        page=page, audit=page.audit, figures=known, controls=CONTROLS, format_interval=format_estimate
    )


def rows(audit: Audit) -> list[JsonObject]:
    """Return a row with headings for each group."""
    return [_row(group) for group in audit.groups]


def markdown(page: AuditPage, address: str) -> str:
    """Return the verdict, the table of groups and the address of the page in Markdown."""
    table = markdown_table([{name: cell(value) for name, value in row.items()} for row in rows(page.audit)])
    verdict = f"**{page.audit.status}**: {cell(page.audit.verdict)}"
    title = f"# Served lists of {cell(page.placement)}, {page.span}"
    return f"{title}\n\n{verdict}\n\n[The whole audit]({address})\n\n{table}"


def _row(group: GroupFigures) -> JsonObject:
    figures = {label: format_estimate(group.figures.get(name)) for name, label in FIGURES.items()}
    return {"trait": group.trait, "group": group.value, "people": group.users, "bought": group.acted} | figures


def cell(value: object) -> str:
    """Return a value as an escaped cell of a Markdown table."""
    return f"{value:,}" if isinstance(value, int) else for_markdown(str(value))


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%-d %B %Y")
