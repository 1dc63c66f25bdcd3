"""Plots of a model on the held-out weeks, shown in MLflow."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.evaluation.diagnostics.learning_curve import Point
from models.evaluation.diagnostics.overfitting import OverfitCheck
from models.evaluation.metrics.bootstrap import Estimate
from models.evaluation.metrics.user_averages import HIGH, LOW
from models.evaluation.offline import Evaluation
from models.gate.results import GroupResult
from models.primitives.escaping import for_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL, NEW, QUIET = "tab:blue", "tab:orange", "0.6"
_SHOWN, _BOUGHT = ("shown", "unshown"), ("bought", "unbought")
_LABELS: Final = {"hit_rate": "hit rate", "ndcg": "NDCG", "map": "MAP", "mrr": "MRR"}
_REFUSED: Final = "tab:red"
_KINDS: Final = (
    ("judged", ALL, lambda group: group.judged and group.passed),
    ("served worse than allowed", _REFUSED, lambda group: not group.passed),
    ("too few people to be judged", QUIET, lambda group: not group.judged and group.passed),
)


def pyplot() -> Any:
    """Return `matplotlib.pyplot`, set up for files. It is imported late because most commands draw nothing."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("agg")
    # Names come from data. Matplotlib would parse text between two dollars as a formula, and fail at a wrong one.
    mpl.rcParams["text.parse_math"] = False
    return plt


@contextmanager
def drawn(path: Path, title: str, panels: int = 1, height: float = 4.5, **axis: Any) -> Iterator[Any]:
    """Yield the axes of one panel, or a list of axes, and write them to `path`; `height` is in inches."""
    plt = pyplot()
    figure, axes = plt.subplots(1, panels, figsize=(7 * panels, height), dpi=110, layout="constrained", squeeze=False)
    figure.suptitle(title)
    for one in axes[0]:
        one.set(**axis)
        one.grid(alpha=0.3)
    yield axes[0, 0] if panels == 1 else list(axes[0])
    figure.canvas.print_png(path)  # as `savefig`, which draws twice
    plt.close(figure)


def format_estimate(figure: Estimate) -> str:
    """Return a figure with its interval."""
    return f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


def estimate_of(summary: Mapping[str, float], name: str) -> Estimate:
    """Return a figure of a summary with its interval."""
    return Estimate(*(summary[name + bound] for bound in ("", LOW, HIGH)))


def bars(figures: Sequence[Estimate]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the values, and the distances to the ends of their intervals."""
    values, low, high = np.array(figures).T
    return values, np.clip([values - low, high - values], 0, None)


def plot_spread(evaluation: Evaluation, kind: str, path: Path) -> None:
    """Plot the distribution of NDCG@10 over users, for all items and for items new to the user."""
    edges = np.linspace(0, 1, 21)
    with drawn(path, f"{kind}: accuracy for single users", xlabel="NDCG@10 of a user") as axes:
        for column, label in (("ndcg_at_10", "all items"), ("new_ndcg_at_10", "only items new to the user")):
            values = evaluation.per_user[column].drop_null().to_numpy()
            mean = format_estimate(estimate_of(evaluation.summary, column))
            axes.hist(values, edges, histtype="step", linewidth=2, label=f"{label}: mean {mean}")
        axes.set(ylabel="users")
        axes.legend()


def plot_overfit(check: OverfitCheck, kind: str, path: Path) -> None:
    """Plot the accuracy for the same users on purchases of the training data and on held-out ones."""
    names = [metric.removesuffix("_at_10") for metric in check.learned]
    with drawn(
        path, f"{kind}: over-fit check, the same users in both", ylabel="mean of the users, 95 % interval"
    ) as axes:
        for shift, colour, label, figures in (
            (-0.2, QUIET, "training data: the last purchases before the cut", check.learned),
            (0.2, ALL, "held out: the test weeks after the cut", check.held_out),
        ):
            values, reach = bars(list(figures.values()))
            axes.bar(np.arange(len(names)) + shift, values, 0.38, yerr=reach, capsize=3, color=colour, label=label)
        axes.set_xticks(range(len(names)), [f"{_LABELS.get(name, name)}@10" for name in names])
        axes.set_ylim(0, 1.15)
        gap = next(iter(check.gap.values()))
        axes.legend(title=f"gap in {_LABELS[names[0]]}@10: {format_estimate(gap)}", loc="upper left")


def plot_confusion(evaluation: Evaluation, kind: str, path: Path) -> None:
    """Plot the counts of all pairs of user and item, where the first 10 places count as shown."""
    cells = [[evaluation.summary[f"{shown}_{bought}"] for bought in _BOUGHT] for shown in _SHOWN]
    total = np.array(cells).sum(axis=1)
    with drawn(path, f"{kind}: confusion matrix, shown = the first 10 places") as axes:
        axes.grid(visible=False)
        axes.imshow(np.log10(np.maximum(cells, 1)), cmap="Blues", vmin=0, vmax=14, aspect="auto")
        for row, column in np.ndindex(2, 2):
            text = f"{cells[row][column]:,.0f}\n{cells[row][column] / max(1, total[row]):.2%} of the row"
            axes.text(column, row, text, ha="center", va="center", fontsize=13)
        axes.set_xticks([0, 1], ["bought in the test weeks", "not bought"])
        axes.set_yticks([0, 1], ["shown", "not shown"])


def plot_learning_curve(points: Sequence[Point], kind: str, path: Path) -> None:
    """Plot the accuracy for the same users by the number of users in the training data."""
    values, reach = bars([point.figure for point in points])
    users = [point.users for point in points]
    with drawn(path, f"{kind}: learning curve, the same users at each point") as axes:
        axes.errorbar(users, values, yerr=reach, marker="o", capsize=4, color=ALL, label="mean, 95 % interval")
        axes.set_xscale("log")
        axes.set_xticks(users, [f"{point.users:,}\n{point.share:.1%}" for point in points])
        axes.minorticks_off()
        axes.set(xlabel="users in the training data", ylabel="NDCG@10 in the test weeks", ylim=(0, None))
        axes.legend()


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
