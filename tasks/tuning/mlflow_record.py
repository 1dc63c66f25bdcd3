"""Records a search in MLflow: a run of the search, a nested run for each trial, and plots."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

import matplotlib as mpl
import optuna
from optuna.trial import TrialState
from optuna.visualization import matplotlib as drawing

from infra.configuration.version import git_commit
from infra.registry.client import Registry
from models.evaluation.metrics.ranking import METRIC
from models.primitives.json_types import JsonObject
from tasks.tuning.study import ERROR, RUN, Study

PLOTS: Final = "search"
COSTS: Final = ("fit_seconds", "memory_mb", "artifact_mb")
"""The costs of a fold, which have limits."""
BUSY: Final = "busy_seconds"
_SHOWN: Final = "last_trial_shown"
_FINISHED: Final = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED", "INTERRUPTED": "KILLED"}
mpl.use("agg")


def plots(study: optuna.Study, objectives: Sequence[str], folder: Path, over: Callable[[], bool]) -> list[str]:
    """Draw history, slices, importance of settings and parallel coordinates, and with two objectives their front.

    Returns the names of the plots for which no time was left.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        return []
    several = len(objectives) > 1
    target: JsonObject = {"target_name": objectives[0]}
    if several:
        target["target"] = lambda trial: trial.values[0]
    drawings = {"history.png": partial(drawing.plot_optimization_history, study, **target)}
    if len({tuple(sorted(trial.params.items())) for trial in done}) > 1:  # equal settings cannot be compared
        drawings["slices.png"] = partial(drawing.plot_slice, study, **target)
        drawings["parallel_coordinates.png"] = partial(drawing.plot_parallel_coordinate, study, **target)
        if several:  # Optuna explains low values of a given target
            target["target"] = lambda trial: -trial.values[0]
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


def _save(path: Path, draw: Callable[[], object]) -> None:
    from matplotlib import pyplot as plt

    with warnings.catch_warnings(action="ignore"):  # Optuna warns about few trials, with paths of its own files
        draw()
    figure = plt.gcf()
    figure.set_size_inches(max(9, figure.get_figwidth()), 5.5)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


@dataclass
class Outcome:
    """The outcome of a trial."""

    number: int
    settings: JsonObject
    started: float
    """Epoch seconds."""
    state: str = "COMPLETE"
    """COMPLETE, PRUNED, FAIL or INTERRUPTED."""
    folds: list[dict[str, float]] = field(default_factory=list)
    reason: str = ""
    """Why it ended before all folds were measured."""
    excess: dict[str, float] = field(default_factory=dict)
    """The excess over each limit, as a fraction of the limit; 0 or below if it is kept."""

    @property
    def busy_seconds(self) -> float:
        """Return the seconds of fits and measurements; the rest is overhead of the search."""
        return sum(fold["fit_seconds"] + fold["measure_seconds"] for fold in self.folds)

    def mean(self, name: str) -> float:
        """Return the mean of a figure over the measured folds."""
        return sum(fold[name] for fold in self.folds) / len(self.folds)

    def highest(self, name: str) -> float:
        """Return the highest value of a figure over the folds."""
        return max(fold[name] for fold in self.folds)


@dataclass(frozen=True)
class Record:
    """The run of a study in MLflow, and the runs of its trials."""

    registry: Registry
    run_id: str
    tags: Mapping[str, str]

    @classmethod
    def open(cls, registry: Registry, study: Study, version: str, kind: str) -> Self:
        """Return the study's run: the first worker creates it, the others reopen it."""
        tags = {"dataset_version": version, "kind": kind, "git_commit": git_commit()}
        with study.locked():
            known = study.run_id or registry.newest_run(study.name)  # a worker may be killed between the two
            if known is None:
                plan = asdict(study.plan)
                parameters = plan | {f"limit_{name}": limit for name, limit in plan.pop("limits").items()}
                run_id = registry.start_run(f"search {kind}", study.name, parameters, {**tags, "stage": "search"})
            else:
                run_id = known
                registry.reopen(run_id)
            if study.run_id is None:
                study.optuna.set_user_attr(RUN, run_id)
        return cls(registry, run_id, tags)

    @contextmanager
    def closed_on_error(self) -> Iterator[Self]:
        """Yield the record; an error in the block marks the run as failed."""
        try:
            yield self
        except BaseException:
            with suppress(Exception):  # the first error matters more than an outage of MLflow
                self.registry.finish_run(self.run_id, ok=False)
            raise

    def trial(self, outcome: Outcome) -> str:
        """Store a trial as a nested run of the study's run; returns its id."""
        tags = {**self.tags, "stage": "trial", "state": outcome.state, "said": outcome.reason}
        name = f"trial {outcome.number}"
        status = _FINISHED[outcome.state]
        steps, means = outcome.folds, {f"mean_{METRIC}": outcome.mean(METRIC)} if outcome.folds else {}
        started = outcome.started
        return self.registry.record_child_run(
            name, self.run_id, outcome.settings, tags, [*steps, means], started, status=status
        )

    def finish(self, study: Study, over: Callable[[], bool] = lambda: False) -> list[str]:
        """Store figures and plots of the search; each trial is a step of the curve that its run shows.

        Returns the plots that were skipped because time was `over`.
        """
        self._show_curve(study)
        ended = Counter(trial.state.name.lower() for trial in study.tried())
        figures = {"trials": float(ended.total()), **{f"trials_{name}": float(count) for name, count in ended.items()}}
        default = study.default_value()
        if default:
            figures |= {f"defaults_{METRIC}": default, "gain_on_defaults": study.best().values[0] / default - 1}
        with TemporaryDirectory() as scratch:
            skipped = plots(study.optuna, study.plan.objectives, Path(scratch), over)
            self.registry.log_folder(self.run_id, Path(scratch), PLOTS)
        self.registry.log(self.run_id, figures)
        self.registry.end_open_runs(self.run_id)
        self.registry.finish_run(self.run_id)
        return skipped

    def _show_curve(self, study: Study) -> None:
        """Add the trials that the curve of the run does not show yet."""
        best, shown = 0.0, study.optuna.user_attrs.get(_SHOWN, -1)
        steps: dict[int, dict[str, float]] = {}
        for trial in study.measured():
            best = max(best, trial.values[0])
            if trial.number > shown:
                steps[trial.number] = {METRIC: trial.values[0], f"best_{METRIC}": best}
        if steps:
            self.registry.log_steps(self.run_id, steps)
            study.optuna.set_user_attr(_SHOWN, max(steps))


def trial_rows(study: Study) -> list[JsonObject]:
    """Return a row for each trial: the best first, then those that were not measured on all folds."""
    rows = []
    for trial in study.tried():
        values = trial.values if trial.state == TrialState.COMPLETE else [None] * len(study.plan.objectives)
        reached = dict(zip(study.plan.objectives, values, strict=True))
        attributes = {name: trial.user_attrs.get(name) for name in (*COSTS, BUSY, ERROR)}
        rows.append({"trial": trial.number, "state": trial.state.name.lower(), **reached, **trial.params, **attributes})
    return sorted(rows, key=lambda row: (-(row[METRIC] or -1.0), row["trial"]))
