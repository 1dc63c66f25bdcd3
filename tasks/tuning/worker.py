"""Tries one setting after the other, until the search has ended."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from time import monotonic, time
from typing import Final

from optuna.trial import TrialState

from infra import outages
from models.evaluation.metrics.ranking import METRIC
from models.tuning.study_config import Budget
from tasks.tuning.mlflow_record import BUSY, TAKEN, Outcome, Record
from tasks.tuning.study import DONE, ERROR, WAIT, Assignment, Study
from tasks.tuning.trial_process import LimitExceededError, OutageError, SettingFailedError, StoppedError, TrialProcess

_OUTAGE: Final = 600.0  # seconds a server may be away before a search gives up
_AGAIN: Final = 5.0  # seconds between two tries to reach it


@dataclass
class StopCondition:
    """When a run of a search ends, whatever it is doing then."""

    seconds: float | None
    longest: float | None = None
    """Seconds for a run that has not found anything after `seconds`."""
    found: bool = False
    """Whether any setting was measured."""
    began: float = field(default_factory=monotonic)
    called: Event = field(default_factory=Event)
    """Set when somebody stops the run."""

    def reached(self) -> bool:
        """Whether it is now."""
        return self.called.is_set() or (self._most is not None and monotonic() - self.began >= self._most)

    def share(self) -> float:
        """Return how much of the time is gone, from 0 to 1."""
        return min(1.0, (monotonic() - self.began) / self._most) if self._most else 0.0

    @property
    def _most(self) -> float | None:
        """Seconds that it may take, by what it has found."""
        return self.seconds if self.found or self.longest is None else self.longest


@dataclass
class Worker:
    """One of those who share a study."""

    study: Study
    record: Record
    version: str
    kind: str
    budget: Budget
    end: StopCondition
    tell: Callable[[], None]
    """Hears when a trial has ended."""

    def run(self, threads: int) -> None:
        """Until nothing is left to do. Servers that go away are waited for: a night is long."""
        away = 0.0
        with TrialProcess(self.version, self.study.plan.limits, self.end.reached, threads) as process:
            while not self.end.reached():
                try:
                    if not self._step(process):
                        return
                    away = 0.0
                except Exception as error:
                    away = away or monotonic()
                    self._wait(error, away)

    def _wait(self, error: Exception, since: float) -> None:
        """Until a server may be back; raises what is no outage, or lasts too long, or nobody waits for any more."""
        outage = isinstance(error, OutageError) or outages.explain(error) is not None
        if not outage or monotonic() - since > _OUTAGE or self.end.called.wait(_AGAIN):
            raise error

    def _step(self, process: TrialProcess) -> bool:
        """One setting; False when there is none left."""
        with self.study.turn(self.budget) as turn:
            if isinstance(turn, Assignment):
                self._try(process, turn)
        if turn == WAIT:
            self.end.called.wait(1)
        return turn != DONE

    def _try(self, process: TrialProcess, turn: Assignment) -> None:
        outcome = Outcome(turn.trial.number, turn.trial.params, time())
        try:
            self._measure(process, turn, outcome)
        except SettingFailedError as error:
            outcome.state, outcome.said = "FAIL", str(error)
        except LimitExceededError as error:
            outcome.state, outcome.said, outcome.excess = "PRUNED", str(error), error.excess
        except (StoppedError, OutageError) as error:
            outcome.state, outcome.said = "INTERRUPTED", str(error)
            self.study.give_back(turn.trial.number, outcome.said)
            if isinstance(error, OutageError):
                raise
            self.record.trial(outcome)
            return
        run_id = self._recorded(turn, outcome)
        turn.confirm()  # nobody else has got it meanwhile
        self._finish(turn, outcome, run_id)

    def _recorded(self, turn: Assignment, outcome: Outcome) -> str:
        """Its run in MLflow, which may be away for a while: what was measured is not thrown away for that.

        Unless time is over: then the trial is tried again when the search goes on.
        """
        since = monotonic()
        while True:
            turn.confirm()
            try:
                return self.record.trial(outcome)
            except Exception as error:
                if self.end.reached():
                    raise
                self._wait(error, since)

    def _measure(self, process: TrialProcess, turn: Assignment, outcome: Outcome) -> None:
        """Fold by fold, as long as the setting is among the better half."""
        process.memory_mb, plan = 0.0, self.study.plan
        folds = plan.folds
        request = {"kind": self.kind, "settings": dict(outcome.settings), "seed": plan.seed, "folds": folds}
        request["warm"] = plan.limits.fit_seconds is not None
        while len(outcome.folds) < folds:
            answer = process.measure({**request, "fold": len(outcome.folds)})
            folds = int(answer.pop("folds"))
            outcome.folds.append(answer)
            if len(outcome.folds) < folds and self._falls_behind(turn, outcome):
                outcome.state, outcome.said = "PRUNED", f"not in the better half after fold {len(outcome.folds)}"
                break
        outcome.excess = plan.limits.excess(*(outcome.most(name) for name in TAKEN))

    def _falls_behind(self, turn: Assignment, outcome: Outcome) -> bool:
        if self.study.plan.coverage:
            return False
        turn.trial.report(outcome.mean(METRIC), len(outcome.folds))
        return bool(turn.trial.should_prune())

    def _finish(self, turn: Assignment, outcome: Outcome, run_id: str) -> None:
        trial = turn.trial
        for name, excess in outcome.excess.items():
            trial.set_constraint(name, excess)
        taken = {name: outcome.most(name) for name in TAKEN if outcome.folds} | {BUSY: outcome.busy_seconds}
        told = {"run_id": run_id} | ({ERROR: outcome.said} if outcome.said else {})
        for name, value in {**taken, **told}.items():
            trial.set_user_attr(name, value)
        complete = outcome.state == "COMPLETE"
        values = [outcome.mean(name) for name in self.study.plan.objectives] if complete else None
        self.study.optuna.tell(trial, values, TrialState[outcome.state])
        self.tell()
