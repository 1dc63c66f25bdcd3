"""Plots of an audit: the accuracy for groups of people, and the popularity of shown items."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.evaluation.metrics.bootstrap import Estimate
from models.monitoring.audit.figures import GroupFigures
from models.monitoring.audit.report import Audit
from models.primitives.escaping import for_plot
from models.primitives.json_types import JsonObject
from tasks.reports.plots.evaluation import ALL, NEW, QUIET, bars, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WORSE: Final = "tab:red"
_MOST: Final = 40
"""The number of groups that fit on a plot; the largest are shown."""
Draw = Callable[[Audit, Path], None]


def plot_accuracy(audit: Audit, path: Path) -> None:
    """Plot the observed NDCG by group, beside that of one list for all people."""
    beyond = {(group.trait, group.value) for group in audit.comparisons if not group.passed}
    groups = _with(audit, "ndcg")
    title = "Observed NDCG@10 by group"
    with _rows(path, title, groups, "NDCG@10, 95 % interval") as axes:
        rows = [(row, group, (group.trait, group.value) in beyond) for row, group in enumerate(groups)]
        for label, colour, some in (
            ("as shown", ALL, [(row - 0.15, g.figures["ndcg"]) for row, g, worse in rows if not worse]),
            ("beyond the margin", _WORSE, [(row - 0.15, g.figures["ndcg"]) for row, g, worse in rows if worse]),
            ("best sellers instead", QUIET, [(row + 0.15, g.figures["control_ndcg"]) for row, g, _ in rows]),
        ):
            _points(axes, some, label, colour)
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, frameon=False, fontsize="small")


def plot_lift(audit: Audit, path: Path) -> None:
    """Plot the popularity lift by group."""
    groups = _with(audit, "lift")
    with _rows(path, "Popularity lift by group", groups, "0: as popular as what the group buys") as axes:
        _points(axes, [(row, group.figures["lift"]) for row, group in enumerate(groups)], "", ALL)
        axes.axvline(0, color=QUIET, ls="--")


def plot_calibration(audit: Audit, path: Path) -> None:
    """Plot the miscalibration by group."""
    groups = _with(audit, "miscalibration")
    title = "Categories of lists compared with histories, by group"
    with _rows(path, title, groups, "divergence in nats; 0: the same proportions") as axes:
        _points(axes, [(row, group.figures["miscalibration"]) for row, group in enumerate(groups)], "", ALL)
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


def _rows(path: Path, title: str, groups: Sequence[GroupFigures], label: str) -> Any:
    return drawn(path, title, height=1.6 + 0.27 * len(groups), xlabel=label, **_group_axis(groups))


def _group_axis(groups: Sequence[GroupFigures]) -> JsonObject:
    names = [for_plot(f"{group.trait}: {group.value}" if group.trait else group.value) for group in groups]
    labels = [f"{name} ({group.users:,})" for name, group in zip(names, groups, strict=True)]
    return {"yticks": range(len(groups)), "yticklabels": labels, "ylim": (len(groups) - 0.5, -0.5)}


def _points(axes: "Axes", some: Sequence[tuple[float, Estimate | None]], label: str, colour: str) -> None:
    there = [(row, figure) for row, figure in some if figure is not None]
    if there:
        values, reach = bars([figure for _, figure in there])
        rows = np.array([row for row, _ in there])
        axes.errorbar(values, rows, xerr=reach, fmt="o", capsize=3, color=colour, label=label)
