"""Tries one setting after another until the search has ended."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from time import monotonic, time
from typing import Final

from optuna.trial import TrialState

from infra import outages
from models.evaluation.metrics.ranking import METRIC
from models.tuning.study_config import Budget
from tasks.tuning.mlflow_record import BUSY, COSTS, Outcome, Record
from tasks.tuning.study import DONE, ERROR, WAIT, Assignment, Study
from tasks.tuning.trial_child import Request
from tasks.tuning.trial_process import LimitExceededError, OutageError, SettingFailedError, StoppedError, TrialProcess

_LONGEST_OUTAGE: Final = 600.0  # seconds
_RETRY: Final = 5.0  # seconds between two attempts to reach a server


@dataclass
class StopCondition:
    """The condition that ends a run of a search at any point."""

    seconds: float | None
    longest: float | None = None
    """Seconds for a run that has no measured setting after `seconds`."""
    any_measured: bool = False
    began: float = field(default_factory=monotonic)
    stopped: Event = field(default_factory=Event)
    """Set when a person stops the run."""

    def reached(self) -> bool:
        """Return whether the run has to end now."""
        return self.stopped.is_set() or (self._limit is not None and monotonic() - self.began >= self._limit)

    def share(self) -> float:
        """Return the used fraction of the time, from 0 to 1."""
        return min(1.0, (monotonic() - self.began) / self._limit) if self._limit else 0.0

    @property
    def _limit(self) -> float | None:
        """Return the seconds that the run may take."""
        return self.seconds if self.any_measured or self.longest is None else self.longest


@dataclass
class Worker:
    """A worker of a shared study."""

    study: Study
    record: Record
    version: str
    kind: str
    budget: Budget
    stop: StopCondition
    on_trial_end: Callable[[], None]

    def run(self, threads: int) -> None:
        """Try settings until the search has ended. If a server is away, wait for it for up to ten minutes."""
        outage_began = 0.0
        with TrialProcess(self.version, self.study.plan.limits, self.stop.reached, threads) as process:
            while not self.stop.reached():
                try:
                    if not self._step(process):
                        return
                    outage_began = 0.0
                except Exception as error:
                    outage_began = outage_began or monotonic()
                    self._wait(error, outage_began)

    def _wait(self, error: Exception, since: float) -> None:
        """Wait until a server may be back; raise other errors, too long outages, and any error of a stopped run."""
        outage = isinstance(error, OutageError) or outages.explain(error) is not None
        if not outage or monotonic() - since > _LONGEST_OUTAGE or self.stop.stopped.wait(_RETRY):
            raise error

    def _step(self, process: TrialProcess) -> bool:
        """Try one setting; returns False if there is none left."""
        with self.study.next_assignment(self.budget) as assignment:
            if isinstance(assignment, Assignment):
                self._try(process, assignment)
        if assignment == WAIT:
            self.stop.stopped.wait(1)
        return assignment != DONE

    def _try(self, process: TrialProcess, assignment: Assignment) -> None:
        outcome = Outcome(assignment.trial.number, assignment.trial.params, time())
        try:
            self._measure(process, assignment, outcome)
        except SettingFailedError as error:
            outcome.state, outcome.reason = "FAIL", str(error)
        except LimitExceededError as error:
            outcome.state, outcome.reason, outcome.excess = "PRUNED", str(error), error.excess
        except (StoppedError, OutageError) as error:
            outcome.state, outcome.reason = "INTERRUPTED", str(error)
            self.study.give_back(assignment.trial.number, outcome.reason)
            if isinstance(error, OutageError):
                raise
            self.record.trial(outcome)
            return
        run_id = self._recorded(assignment, outcome)
        assignment.confirm()  # raises if another worker has it meanwhile
        self._finish(assignment, outcome, run_id)

    def _recorded(self, assignment: Assignment, outcome: Outcome) -> str:
        """Return the trial's new run in MLflow; if MLflow is away, wait for it rather than lose the result.

        When time is over, the error is raised, and the trial is tried again when the search continues.
        """
        since = monotonic()
        while True:
            assignment.confirm()
            try:
                return self.record.trial(outcome)
            except Exception as error:
                if self.stop.reached():
                    raise
                self._wait(error, since)

    def _measure(self, process: TrialProcess, assignment: Assignment, outcome: Outcome) -> None:
        """Measure fold by fold, as long as the setting is in the better half."""
        process.memory_mb, plan = 0.0, self.study.plan
        folds = plan.folds
        while len(outcome.folds) < folds:
            request: Request = {
                "kind": self.kind,
                "settings": dict(outcome.settings),
                "seed": plan.seed,
                "folds": plan.folds,
                "fold": len(outcome.folds),
                "warm": plan.limits.fit_seconds is not None,
            }
            answer = process.measure(request)
            folds = int(answer.pop("folds"))
            outcome.folds.append(answer)
            if len(outcome.folds) < folds and self._falls_behind(assignment, outcome):
                outcome.state, outcome.reason = "PRUNED", f"not in the better half after fold {len(outcome.folds)}"
                break
        outcome.excess = plan.limits.excess(*(outcome.highest(name) for name in COSTS))

    def _falls_behind(self, assignment: Assignment, outcome: Outcome) -> bool:
        if self.study.plan.coverage:
            return False
        assignment.trial.report(outcome.mean(METRIC), len(outcome.folds))
        return bool(assignment.trial.should_prune())

    def _finish(self, assignment: Assignment, outcome: Outcome, run_id: str) -> None:
        trial = assignment.trial
        for name, excess in outcome.excess.items():
            trial.set_constraint(name, excess)
        costs = {name: outcome.highest(name) for name in COSTS if outcome.folds} | {BUSY: outcome.busy_seconds}
        details = {"run_id": run_id} | ({ERROR: outcome.reason} if outcome.reason else {})
        for name, value in {**costs, **details}.items():
            trial.set_user_attr(name, value)
        complete = outcome.state == "COMPLETE"
        values = [outcome.mean(name) for name in self.study.plan.objectives] if complete else None
        self.study.optuna.tell(trial, values, TrialState[outcome.state])
        self.on_trial_end()
