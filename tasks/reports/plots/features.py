"""A plot of the importance of a model's features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from models.evaluation.diagnostics.feature_importance import USERS, Importance
from models.primitives.escaping import for_plot
from tasks.reports.plots.evaluation import ALL, bars, drawn

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
