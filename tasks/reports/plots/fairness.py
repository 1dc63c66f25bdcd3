"""A plot of the accuracy for single groups of people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from models.evaluation.metrics.bootstrap import Estimate
from models.gate.results import GroupResult
from models.primitives.escaping import for_plot
from tasks.reports.plots.evaluation import ALL, QUIET, bars, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REFUSED: Final = "tab:red"
_KINDS: Final = (
    ("judged", ALL, lambda group: group.judged and group.passed),
    ("served worse than allowed", _REFUSED, lambda group: not group.passed),
    ("too few people to be judged", QUIET, lambda group: not group.judged and group.passed),
)


def plot_groups(groups: Sequence[GroupResult], reference: str, path: Path) -> None:
    """Plot the difference to the reference with its interval for each group, by trait."""
    title = f"NDCG@10 by group: difference to {for_plot(reference)}"
    with drawn(path, title, height=1.6 + 0.27 * len(groups), xlabel="difference a user, 95 % interval") as axes:
        for label, colour, belongs in _KINDS:
            some = [(row, group) for row, group in enumerate(groups) if belongs(group)]
            if some:
                _draw(axes, some, label, colour)
        axes.axvline(0, color=QUIET, ls="--")
        names = [for_plot(f"{group.trait}: {group.value} ({group.users:,})") for group in groups]
        axes.set_yticks(range(len(groups)), names)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        _divide(axes, groups)
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, frameon=False, fontsize="small")


def _draw(axes: "Axes", some: Sequence[tuple[int, GroupResult]], label: str, colour: str) -> None:
    rows = np.array([row for row, _ in some])
    values, reach = bars([Estimate(group.difference, group.low, group.high) for _, group in some])
    axes.errorbar(values, rows, xerr=reach, fmt="o", capsize=3, color=colour, label=label)


def _divide(axes: "Axes", groups: Sequence[GroupResult]) -> None:
    """Draw a line between traits."""
    for row in range(1, len(groups)):
        if groups[row].trait != groups[row - 1].trait:
            axes.axhline(row - 0.5, color=QUIET, linewidth=0.6)
