"""Tries one setting after another until the search has ended."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from threading import Event
from time import monotonic, time
from typing import IO, Final, Self

import psutil
from optuna.trial import TrialState

from infra import outages
from models.errors import TailorbirdError
from models.evaluation.metrics.ranking import METRIC
from models.tuning.study_config import NEW_METRIC, Budget, TrialLimits
from tasks.tuning.mlflow_record import BUSY, COSTS, Outcome, Record
from tasks.tuning.study import DONE, ERROR, WAIT, Assignment, Study
from tasks.tuning.trial_child import FITTED, FITTING, Request

_POLL: Final = 0.1  # seconds between two measurements of the process
_ERROR_TAIL: Final = 4_000  # bytes


class SettingFailedError(Exception):
    """A setting with which the model cannot be fitted or measured."""


class StoppedError(Exception):
    """The search ends before the setting was measured."""


class OutageError(TailorbirdError):
    """A server was away; the setting can be tried again."""


class LimitExceededError(Exception):
    """A setting that exceeded limits; `excess` is the fraction above each limit."""

    def __init__(self, message: str, excess: dict[str, float]) -> None:
        super().__init__(message)
        self.excess = excess


@dataclass
class TrialProcess:
    """The process that tries settings, started with the first one and again after each one that ended it."""

    version: str
    limits: TrialLimits
    stop: Callable[[], bool]
    """Returns whether the search has ended meanwhile."""
    threads: int
    """Threads for the fits."""
    memory_mb: float = 0.0
    """The peak since it was last set to 0."""
    _child: subprocess.Popen[bytes] | None = None
    _errors: IO[bytes] | None = None
    """Its stderr."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def measure(self, request: Request) -> dict[str, float]:
        """Return the figures of one setting on one fold, and its costs.

        Raises SettingFailedError, LimitExceededError, OutageError or StoppedError.
        """
        child = self._ready()
        fitting: float | None = None
        assert child.stdin is not None
        with suppress(BrokenPipeError):  # it has crashed; its stderr has the reason
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
        for line in self._lines(child):
            if line is None:
                self._watch(child, fitting)
                continue
            message = json.loads(line)
            if message == FITTING:
                fitting = monotonic()
            elif message == FITTED:
                fitting = None
            elif "outage" in message:
                self.end()  # its connections may be lost
                raise OutageError(message["outage"])
            elif "error" in message:
                raise SettingFailedError(message["error"])
            else:
                self._watch(child, None)
                return {**message, "memory_mb": self.memory_mb}
        self._watch(child, None)
        raise SettingFailedError(self._failure(child))

    def end(self) -> None:
        """End the process; the next setting gets a new one."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
        if self._errors is not None:
            self._errors.close()
        self._child = self._errors = None

    def _ready(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.end()
            self._errors = TemporaryFile()  # noqa: SIM115 - it ends with the process
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "tasks.tuning.trial_child", self.version],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # an interrupt from the keyboard must not reach it
                env=os.environ | {"OMP_NUM_THREADS": str(self.threads)},
            )
        return self._child

    def _lines(self, child: subprocess.Popen[bytes]) -> Iterator[bytes | None]:
        """Yield its output lines, and None whenever there was none for a while, until the process ends."""
        assert child.stdout is not None
        partial = b""
        while True:
            if not select.select([child.stdout], [], [], _POLL)[0]:
                yield None
                continue
            chunk = os.read(child.stdout.fileno(), 65536)
            if not chunk:
                return
            *lines, partial = (partial + chunk).split(b"\n")
            yield from lines

    def _watch(self, child: subprocess.Popen[bytes], fitting: float | None) -> None:
        with suppress(psutil.Error):  # it has just ended
            self.memory_mb = max(self.memory_mb, psutil.Process(child.pid).memory_info().rss / 1e6)
        if self.stop():
            self.end()
            raise StoppedError
        limit = self.limits.memory_mb
        if limit is not None and self.memory_mb > limit:
            self.end()
            excess = {"memory_mb": self.memory_mb / limit - 1}
            raise LimitExceededError(f"it took {self.memory_mb:,.0f} MB of memory and may take {limit:,.0f}", excess)
        longest = self.limits.fit_seconds
        if fitting is not None and longest is not None and monotonic() - fitting > 2 * longest:
            self.end()
            excess = {"fit_seconds": (monotonic() - fitting) / longest - 1}
            raise LimitExceededError(f"it fitted for {2 * longest:g} s and may for {longest:g}", excess)

    def _failure(self, child: subprocess.Popen[bytes]) -> str:
        code, errors = child.wait(), self._errors
        assert errors is not None
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - _ERROR_TAIL))
        lines = errors.read().decode(errors="replace").strip().splitlines()
        self.end()
        ended = f"signal {-code}" if code < 0 else f"code {code}"
        if code == -signal.SIGKILL:
            ended += " (out of memory, or killed by a person)"
        return f"the process that tried it ended with {ended}{': ' + lines[-1] if lines else ''}"


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

    def left(self) -> str:
        """Return the time that is left in words; empty without a limit."""
        if self._limit is None:
            return ""
        seconds = max(0.0, self._limit - (monotonic() - self.began))
        return f", at most {seconds / 60:.0f} min left" if seconds >= 60 else f", at most {seconds:.0f} s left"

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
        if outcome.folds and all(NEW_METRIC in fold for fold in outcome.folds):
            costs[NEW_METRIC] = outcome.mean(NEW_METRIC)
        details = {"run_id": run_id} | ({ERROR: outcome.reason} if outcome.reason else {})
        for name, value in {**costs, **details}.items():
            trial.set_user_attr(name, value)
        complete = outcome.state == "COMPLETE"
        values = [outcome.mean(name) for name in self.study.plan.objectives] if complete else None
        self.study.optuna.tell(trial, values, TrialState[outcome.state])
        self.on_trial_end()
