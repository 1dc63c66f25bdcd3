"""Plots of a model as a classifier of pairs of user and item."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from models.evaluation.diagnostics.feature_importance import USERS, Importance
from models.evaluation.metrics.bootstrap import Estimate
from models.evaluation.metrics.calibration import DEPTH, Pairs
from models.evaluation.offline import SEED, Evaluation
from models.primitives.escaping import for_plot
from tasks.reports.plots.evaluation import ALL, QUIET, bars, drawn, format_estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
