"""Draws Optuna's plots of a search."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict

import matplotlib as mpl
import optuna
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as drawing

mpl.use("agg")


class _Target(TypedDict, total=False):
    target_name: str
    target: Callable[[FrozenTrial], float]


def plots(study: optuna.Study, objectives: Sequence[str], folder: Path, over: Callable[[], bool]) -> list[str]:
    """Draw history, slices, importance of settings and parallel coordinates, and with two objectives their front.

    Returns the names of the plots for which no time was left.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        return []
    several = len(objectives) > 1
    target: _Target = {"target_name": objectives[0]}
    if several:
        target["target"] = _first
    drawings = {"history.png": partial(drawing.plot_optimization_history, study, **target)}
    if len({tuple(sorted(trial.params.items())) for trial in done}) > 1:  # equal settings cannot be compared
        drawings["slices.png"] = partial(drawing.plot_slice, study, **target)
        drawings["parallel_coordinates.png"] = partial(drawing.plot_parallel_coordinate, study, **target)
        if several:  # Optuna explains low values of a given target
            target["target"] = lambda trial: -_first(trial)
        drawings["importance.png"] = partial(drawing.plot_param_importances, study, **target)
    if several:
        drawings["pareto_front.png"] = partial(drawing.plot_pareto_front, study, target_names=list(objectives))
    skipped = []
    for name, draw in drawings.items():
        if over():
            skipped.append(name)
        else:
            _save(folder / name, draw)
    return skipped


def _first(trial: FrozenTrial) -> float:
    return float(trial.values[0])


def _save(path: Path, draw: Callable[[], object]) -> None:
    from matplotlib import pyplot as plt

    with warnings.catch_warnings(action="ignore"):  # Optuna warns about few trials, with paths of its own files
        draw()
    figure = plt.gcf()
    figure.set_size_inches(max(9, figure.get_figwidth()), 5.5)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
