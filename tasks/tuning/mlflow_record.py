"""What MLflow shows of a search: a run of the whole, one under it for each trial, and plots."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from optuna.trial import TrialState

from infra.configuration.version import git_commit
from infra.registry.client import Registry
from models.evaluation.metrics.ranking import METRIC
from tasks.tuning.plots import plots
from tasks.tuning.study import ERROR, RUN, Study

PLOTS: Final = "search"
TAKEN: Final = ("fit_seconds", "memory_mb", "artifact_mb")
"""What a fold took: its figures that limits are about."""
BUSY: Final = "busy_seconds"
_SHOWN: Final = "last_trial_shown"
_FINISHED: Final = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED", "INTERRUPTED": "KILLED"}


@dataclass
class Outcome:
    """How a trial ended."""

    number: int
    settings: Mapping[str, Any]
    started: float
    """Epoch seconds."""
    state: str = "COMPLETE"
    """COMPLETE, PRUNED, FAIL or INTERRUPTED."""
    folds: list[dict[str, float]] = field(default_factory=list)
    said: str = ""
    """Why it ended before all folds were measured."""
    excess: dict[str, float] = field(default_factory=dict)
    """How far it goes beyond each limit, as a part of it; 0 or below where it keeps it."""

    @property
    def busy_seconds(self) -> float:
        """What fits and measuring took; the rest is what a search costs."""
        return sum(fold["fit_seconds"] + fold["measure_seconds"] for fold in self.folds)

    def mean(self, name: str) -> float:
        """Of a figure over the folds that were measured."""
        return sum(fold[name] for fold in self.folds) / len(self.folds)

    def most(self, name: str) -> float:
        """The highest figure of any fold."""
        return max(fold[name] for fold in self.folds)


@dataclass(frozen=True)
class Record:
    """The run of a study in MLflow, and those of its trials."""

    registry: Registry
    run_id: str
    tags: Mapping[str, str]

    @classmethod
    def of(cls, registry: Registry, study: Study, version: str, kind: str) -> Self:
        """The study's run: made by the first worker, opened again by others."""
        tags = {"dataset_version": version, "kind": kind, "git_commit": git_commit()}
        with study.locked():
            known = study.run_id or registry.newest_run(study.name)  # a worker may be killed between the two
            if known is None:
                plan = asdict(study.plan)
                told = plan | {f"limit_{name}": limit for name, limit in plan.pop("limits").items()}
                run_id = registry.start_run(f"search {kind}", study.name, told, {**tags, "stage": "search"})
            else:
                run_id = known
                registry.reopen(run_id)
            if study.run_id is None:
                study.optuna.set_user_attr(RUN, run_id)
        return cls(registry, run_id, tags)

    @contextmanager
    def closed_on_error(self) -> Iterator[Self]:
        """The record for as long as the block; what the block raises makes the run a failed one."""
        try:
            yield self
        except BaseException:
            with suppress(Exception):  # what has happened is more than that MLflow cannot be told
                self.registry.finish_run(self.run_id, ok=False)
            raise

    def trial(self, outcome: Outcome) -> str:
        """Store a trial as a run under that of the study; returns its id."""
        tags = {**self.tags, "stage": "trial", "state": outcome.state, "said": outcome.said}
        name = f"trial {outcome.number}"
        status = _FINISHED[outcome.state]
        steps, means = outcome.folds, {f"mean_{METRIC}": outcome.mean(METRIC)} if outcome.folds else {}
        started = outcome.started
        return self.registry.record_child_run(
            name, self.run_id, outcome.settings, tags, [*steps, means], started, status=status
        )

    def finish(self, study: Study, over: Callable[[], bool] = lambda: False) -> list[str]:
        """Store figures and plots of the whole; each trial is a step of the curve that its run shows.

        Returns the plots that were skipped because time was `over`.
        """
        known, shown = 0.0, study.optuna.user_attrs.get(_SHOWN, -1)
        for trial in study.measured():
            known = max(known, trial.values[0])
            if trial.number > shown:
                self.registry.log(self.run_id, {METRIC: trial.values[0], f"best_{METRIC}": known}, step=trial.number)
                study.optuna.set_user_attr(_SHOWN, trial.number)
        ended = Counter(trial.state.name.lower() for trial in study.tried())
        figures = {"trials": float(ended.total()), **{f"trials_{name}": float(count) for name, count in ended.items()}}
        first = study.defaults()
        if first:
            figures |= {f"defaults_{METRIC}": first, "gain_on_defaults": study.best().values[0] / first - 1}
        with TemporaryDirectory() as scratch:
            skipped = plots(study.optuna, study.plan.objectives, Path(scratch), over)
            self.registry.log_folder(self.run_id, Path(scratch), PLOTS)
        self.registry.log(self.run_id, figures)
        self.registry.end_open_runs(self.run_id)
        self.registry.finish_run(self.run_id)
        return skipped


def table(study: Study) -> list[dict[str, Any]]:
    """Trials as lines, the best first, then those that were not measured on all folds."""
    lines = []
    for trial in study.tried():
        values = trial.values if trial.state == TrialState.COMPLETE else [None] * len(study.plan.objectives)
        reached = dict(zip(study.plan.objectives, values, strict=True))
        said = {name: trial.user_attrs.get(name) for name in (*TAKEN, BUSY, ERROR)}
        lines.append({"trial": trial.number, "state": trial.state.name.lower(), **reached, **trial.params, **said})
    return sorted(lines, key=lambda line: (-(line[METRIC] or -1.0), line["trial"]))
