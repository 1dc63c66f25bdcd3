"""Plots that people look at in MLflow."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from models.evaluation.evaluate import Evaluation

mpl.use("agg")


def plot_evaluation(evaluation: Evaluation, kind: str, path: Path) -> None:
    """How NDCG at 10 is spread over users: all items, and only items new to the user."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    edges = np.linspace(0, 1, 21)
    for column, label in (("ndcg_at_10", "all items"), ("new_ndcg_at_10", "only items new to the user")):
        values = evaluation.per_user[column].drop_null().to_numpy()
        axes.hist(values, edges, histtype="step", linewidth=2, label=f"{label}: mean {values.mean():.4f}")
    axes.set(xlabel="NDCG@10 of a user in the test weeks", ylabel="users", title=kind)
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
