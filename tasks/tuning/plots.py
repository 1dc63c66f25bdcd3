"""Plots of a search, as Optuna draws them."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import optuna
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as drawing

mpl.use("agg")


def plots(study: optuna.Study, objectives: Sequence[str], folder: Path, over: Callable[[], bool]) -> list[str]:
    """Draw history, slices, importance of settings, parallel coordinates; of two objectives their front too.

    Returns the names of those for which no time was left.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        return []
    several = len(objectives) > 1
    named: dict[str, Any] = {"target_name": objectives[0]} | ({"target": _first} if several else {})
    drawings = {"history.png": partial(drawing.plot_optimization_history, study, **named)}
    if len({tuple(sorted(trial.params.items())) for trial in done}) > 1:  # what differs can be compared
        drawings["slices.png"] = partial(drawing.plot_slice, study, **named)
        drawings["parallel_coordinates.png"] = partial(drawing.plot_parallel_coordinate, study, **named)
        # Of a target that it is given, Optuna looks for what makes it low.
        named |= {"target": lambda trial: -_first(trial)} if several else {}
        drawings["importance.png"] = partial(drawing.plot_param_importances, study, **named)
    if several:
        drawings["pareto_front.png"] = partial(drawing.plot_pareto_front, study, target_names=list(objectives))
    skipped = []
    for name, draw in drawings.items():
        if over():
            skipped.append(name)
        else:
            _drawn(folder / name, draw)
    return skipped


def _first(trial: FrozenTrial) -> float:
    return float(trial.values[0])


def _drawn(path: Path, draw: Callable[[], Any]) -> None:
    from matplotlib import pyplot as plt

    with warnings.catch_warnings(action="ignore"):  # Optuna's, on few trials, would name its own files
        draw()
    figure = plt.gcf()
    figure.set_size_inches(max(9, figure.get_figwidth()), 5.5)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
