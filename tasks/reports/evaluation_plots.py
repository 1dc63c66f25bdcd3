"""Plots of a model on the held-out weeks, shown in MLflow."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics.bootstrap import HIGH, LOW, Estimate
from models.evaluation.metrics.calibration import DEPTH, Pairs
from models.evaluation.model_report import USERS, Importance, OverfitCheck, Point
from models.evaluation.offline import SEED, Evaluation
from models.gate.results import GroupResult
from models.primitives.escaping import for_plot
from models.primitives.json_types import JsonObject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL, NEW, QUIET = "tab:blue", "tab:orange", "0.6"
_SHOWN, _BOUGHT = ("shown", "unshown"), ("bought", "unbought")
_LABELS: Final = {"hit_rate": "hit rate", "ndcg": "NDCG", "map": "MAP", "mrr": "MRR"}
_KINDS: Final = (
    ("judged", ALL, lambda group: group.judged and group.passed),
    ("served worse than allowed", "tab:red", lambda group: not group.passed),
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


def format_estimate(figure: Estimate | None) -> str:
    """Return a figure with its interval, or a dash for none."""
    return "-" if figure is None else f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


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
    with group_rows(path, title, groups, "difference a user, 95 % interval") as axes:
        for label, colour, belongs in _KINDS:
            some = ((row, group) for row, group in enumerate(groups) if belongs(group))
            points(axes, [(row, Estimate(one.difference, one.low, one.high)) for row, one in some], label, colour)
        axes.axvline(0, color=QUIET, ls="--")
        _divide(axes, groups)
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, frameon=False, fontsize="small")


def group_rows(path: Path, title: str, groups: Sequence[Any], label: str) -> Any:
    """Yield the axes of a plot with a row for each group, which has a trait, a value and a number of users."""
    names = [for_plot(f"{group.trait}: {group.value}" if group.trait else group.value) for group in groups]
    labels = [f"{name} ({group.users:,})" for name, group in zip(names, groups, strict=True)]
    rows: JsonObject = {"yticks": range(len(groups)), "yticklabels": labels, "ylim": (len(groups) - 0.5, -0.5)}
    return drawn(path, title, height=1.6 + 0.27 * len(groups), xlabel=label, **rows)


def points(axes: "Axes", some: Sequence[tuple[float, Estimate | None]], label: str, colour: str) -> None:
    """Draw figures with their intervals at these rows, without those that are missing."""
    there = [(row, figure) for row, figure in some if figure is not None]
    if there:
        values, reach = bars([figure for _, figure in there])
        rows = np.array([row for row, _ in there])
        axes.errorbar(values, rows, xerr=reach, fmt="o", capsize=3, color=colour, label=label)


def _divide(axes: "Axes", groups: Sequence[GroupResult]) -> None:
    """Draw a line between traits."""
    for row in range(1, len(groups)):
        if groups[row].trait != groups[row - 1].trait:
            axes.axhline(row - 0.5, color=QUIET, linewidth=0.6)


_PAIRS = f"pairs: the first {DEPTH} candidate items of each user"
_MOST: Final = 20


def plot_importance(importance: Sequence[Importance], kind: str, path: Path) -> None:
    """Plot how far the strongest features move the log-odds of shown items."""
    first = importance[:_MOST]
    values, reach = bars([one.moves for one in first])
    title = f"{kind}: features, the strongest {len(first)} of {len(importance)}"
    axis = f"mean of |log-odds added| over the first 10 places of up to {USERS} users, 95 % interval"
    with drawn(path, title, height=1.4 + 0.25 * len(first), xlabel=axis) as axes:
        axes.barh(np.arange(len(first)), values, xerr=reach, capsize=3, color=ALL)
        labels = [f"{for_plot(one.feature)} ({one.adds:+.2f})" for one in first]
        axes.set_yticks(range(len(first)), labels)
        axes.invert_yaxis()
        axes.set_ylabel("feature (mean contribution)")


def plot_roc(pairs: Pairs, figures: dict[str, Estimate], kind: str, path: Path) -> None:
    """Plot the true against the false positive rate."""
    false, true = pairs.roc()
    with drawn(
        path, f"{kind}: ROC curve", xlabel=f"false positive rate ({_PAIRS})", ylabel="true positive rate"
    ) as axes:
        axes.plot(false, true, color=ALL, label=f"area {format_estimate(figures['pairs_roc_auc'])}")
        axes.plot([0, 1], [0, 1], "--", color=QUIET, label="chance: area 0.5")
        axes.legend(loc="lower right")


def plot_precision_recall(
    evaluation: Evaluation, pairs: Pairs, figures: dict[str, Estimate], kind: str, path: Path
) -> None:
    """Plot precision against recall, with the point of the first 10 places."""
    precision, recall = pairs.precision_recall()
    cell = evaluation.summary
    bought = cell["shown_bought"]
    shown, relevant = bought + cell["shown_unbought"], bought + cell["unshown_bought"]
    x, y = bought / max(1, relevant), bought / max(1, shown)
    title = f"{kind}: precision and recall ({_PAIRS})"
    x_label, y_label = "recall: share of all purchases", "precision: share of the pairs that was bought"
    with drawn(path, title, ylim=(0, 1), xlim=(0, 1), xlabel=x_label, ylabel=y_label) as axes:
        axes.plot(recall, precision, color=ALL, label=f"average precision {format_estimate(figures['pairs_pr_auc'])}")
        axes.axhline(pairs.bought.mean(), ls="--", color=QUIET, label=f"share bought at all: {pairs.bought.mean():.4f}")
        axes.plot(x, y, "o", color="tab:red", label=f"operating point, the first 10 of every user: {y:.4f} at {x:.4f}")
        axes.legend(loc="upper right")


def plot_calibration(pairs: Pairs, figures: dict[str, Estimate], kind: str, path: Path) -> None:
    """Plot a reliability diagram (Murphy and Winkler 1977): the share bought by predicted probability."""
    reliability = pairs.reliability(SEED)
    values, reach = bars(
        [Estimate(*figure) for figure in zip(reliability.bought, reliability.low, reliability.high, strict=True)]
    )
    title = f"{kind}: calibration, {len(values)} bins of equally many pairs"
    x_label, y_label = "predicted probability, mean of the bin (root scale)", "share bought, 95 % interval"
    with drawn(path, title, xlabel=x_label, ylabel=y_label) as axes:
        error = format_estimate(figures["pairs_calibration_error"])
        axes.errorbar(
            reliability.probability, values, yerr=reach, marker="o", capsize=3, color=ALL, label=f"mean error {error}"
        )
        top = float(max(reliability.probability.max(), reliability.high.max())) * 1.05
        axes.plot([0, top], [0, top], "--", color=QUIET, label="perfect calibration")
        _roots(axes, x=top, y=top)
        axes.legend(loc="upper left")


def plot_residuals(evaluation: Evaluation, kind: str, path: Path) -> None:
    """Plot the residuals: of pairs the share bought less the predicted probability, of users 1 - NDCG@10."""
    pairs = evaluation.pairs
    both = pairs is not None and pairs.probabilities and pairs.separable
    with drawn(path, f"{kind}: residuals", panels=2 if both else 1) as axes:
        users = axes[1] if both else axes
        _of_users(evaluation, users)
        if both and pairs is not None:
            _of_pairs(pairs, axes[0])


def _of_pairs(pairs: Pairs, axes: "Axes") -> None:
    reliability = pairs.reliability(SEED, bins=40)
    shares = (reliability.bought, reliability.low, reliability.high)
    differences = (share - reliability.probability for share in shares)
    residuals = [Estimate(*figure) for figure in zip(*differences, strict=True)]
    values, reach = bars(residuals)
    axes.errorbar(
        reliability.probability,
        values,
        yerr=reach,
        fmt="o",
        markersize=4,
        capsize=2,
        color=ALL,
        label="40 bins, 95 % intervals",
    )
    axes.axhline(0, color=QUIET, ls="--")
    axes.set(
        xlabel="predicted probability, mean of the bin (root scale)", ylabel="share bought less predicted probability"
    )
    _roots(axes, x=float(reliability.probability.max()) * 1.05)
    axes.legend()


def _of_users(evaluation: Evaluation, axes: "Axes") -> None:
    baskets = evaluation.per_user["baskets"].to_numpy()
    short = 1 - evaluation.per_user["ndcg_at_10"].to_numpy()
    axes.scatter(baskets, short, s=4, alpha=0.25, color=QUIET, label="users")
    edges = np.unique(np.quantile(baskets, np.linspace(0, 1, 11)))
    bin_of = np.clip(np.searchsorted(edges, baskets, "right") - 1, 0, max(0, len(edges) - 2))
    at = [(baskets[bin_of == each].mean(), short[bin_of == each].mean()) for each in np.unique(bin_of)]
    axes.plot(*np.array(at).T, marker="o", color=ALL, label="means of tenths of the users")
    axes.set(xlabel="baskets in the user's history", ylabel="1 - NDCG@10 of the user", ylim=(-0.03, 1.03))
    axes.set_xscale("log")
    axes.legend(loc="lower left")


def _roots(axes: "Axes", **top: float) -> None:
    """Scale axes by the square root from 0 to the top, which gives room to small probabilities and shows 0."""
    for axis, limit in top.items():
        getattr(axes, f"set_{axis}lim")(0, limit)
        getattr(axes, f"set_{axis}scale")("function", functions=(_root, np.square))


def _root(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(values, 0))
