"""The study of a search: kept in Postgres, and shared by all workers, on any machine, that search the same."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Engine, NullPool, create_engine, make_url

from infra.installation import Installation
from infra.locks.advisory_locks import LockHeldError, locked
from models.recommenders.search_space import Parameter
from models.tuning.study_config import Budget, OutOfTimeError, SearchError, SearchPlan
from tasks.tuning.optuna_adapter import distributions, pruner, sampler
from tasks.tuning.trials import describe_failure, shuffled_grid, since_better, trial_settings, within_limits

WAIT: Final = "wait"
DONE: Final = "done"
INTERRUPTED: Final = "interrupted"
"""The attribute of a trial that ended without a result, through no fault of its own: it does not count."""
ERROR: Final = "error"
RUN: Final = "run_id"
"""The attribute of a study that names its run in MLflow."""
_FINISHED: Final = "finished_after"
_TIMES: Final = "interruptions"
_DEFAULTS: Final = "defaults"
_HOPELESS: Final = 5
"""Settings that fail, and none that does not, before a search gives up."""
GRID: Final = 200
"""Settings of a grid where time is all that ends the search."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Study:
    """Locks of the database say which trials are being tried: a killed worker cannot keep one."""

    engine: Engine
    plan: SearchPlan
    space: Mapping[str, Parameter]
    optuna: optuna.Study
    began: int = 0
    """How many trials there were when this run opened it."""
    lost: set[int] = field(default_factory=set)
    """Trials that this run gave up because a server was away."""

    @classmethod
    def open(
        cls,
        installation: Installation,
        topic: str,
        plan: SearchPlan,
        space: Mapping[str, Parameter],
        first: Sequence[Mapping[str, Any]],
        *,
        points: int = GRID,
        fresh: bool = False,
    ) -> Self:
        """The newest study of that topic and plan, or another one: made if there is none, or `fresh`.

        A new one begins with the settings of `first`, the defaults before the others. A grid has at most `points`, with
        these.
        """
        base = f"{topic} {plan.digest(space, points)}"
        with locked(installation.engine, "search: studies", wait=True):
            storage = _storage(installation)
            study = optuna.create_study(
                storage=storage,
                study_name=_name(storage, base, fresh),
                directions=["maximize"] * len(plan.objectives),
                load_if_exists=True,
                pruner=pruner(plan),
            )
        # One connection for each setting that is tried.
        locks = create_engine(installation.engine.url, poolclass=NullPool, hide_parameters=True)
        opened = cls(locks, plan, space, study, len(study.get_trials(deepcopy=False)))
        opened._begin(first, points)
        return opened

    def _begin(self, first: Sequence[Mapping[str, Any]], points: int) -> None:
        """Queue what a search begins with; what a start that was killed has left out is made up for."""
        with self.locked():
            if _DEFAULTS in self.optuna.user_attrs:
                return
            known = [trial_settings(trial) for trial in self.optuna.get_trials(deepcopy=False)]
            starts = [*first, *shuffled_grid(self.plan, self.space, max(1, points - len(first)))]
            for settings in starts:
                if settings not in known:
                    known.append(dict(settings))
                    self.optuna.enqueue_trial(dict(settings))
            self.optuna.set_user_attr(_DEFAULTS, dict(starts[0]))

    @property
    def name(self) -> str:
        """Its name in Postgres."""
        return str(self.optuna.study_name)

    @property
    def run_id(self) -> str | None:
        """Its run in MLflow."""
        run_id: str | None = self.optuna.user_attrs.get(RUN)
        return run_id

    def finish(self) -> None:
        """Note that what it found is stored."""
        self.optuna.set_user_attr(_FINISHED, len(self.tried()))

    def finished(self) -> bool:
        """Whether nothing was tried since that."""
        return bool(self.optuna.user_attrs.get(_FINISHED) == len(self.tried()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One worker at a time."""
        with locked(self.engine, f"search: {self.name}", wait=True):
            yield

    @contextmanager
    def turn(self, budget: Budget) -> Iterator["Assignment | str"]:
        """The next setting to try, for as long as the block: no other worker gets it meanwhile.

        DONE when the search has ended; WAIT when others still try the last ones, which may come back.
        """
        with ExitStack() as stack:
            with self.locked():
                self._reap()
                trial = self._next(budget)
                if isinstance(trial, Trial):
                    self.lost.add(trial.number)  # whatever ends the block by an error: this worker is not gone
                    confirm = stack.enter_context(locked(self.engine, self._lock(trial.number)))
            yield Assignment(trial, confirm) if isinstance(trial, Trial) else trial
            self.lost.difference_update([trial.number] if isinstance(trial, Trial) else [])

    def tried(self) -> list[FrozenTrial]:
        """The trials that count: those under way, and those that ended by themselves."""
        ended_or_under_way = self._in(*(state for state in TrialState if state != TrialState.WAITING))
        return [trial for trial in ended_or_under_way if INTERRUPTED not in trial.user_attrs]

    def measured(self) -> list[FrozenTrial]:
        """The trials that were measured on all folds and cost no more than they may."""
        return [trial for trial in self.tried() if within_limits(trial)]

    def best(self) -> FrozenTrial:
        """The best by the plan. Raises SearchError, with what trials said, when there is none."""
        measured = self.measured()
        if measured:
            return measured[self.plan.best([trial.values for trial in measured])]
        said = {str(t.user_attrs.get(ERROR) or describe_failure(t)) for t in self.tried() if t.state.is_finished()}
        reasons = "; ".join(sorted(said)[:3]) or "no setting was measured on all folds in the time there was"
        advice = "Give it more time, fewer folds or higher limits; after a fix of what failed, search with --fresh."
        kind: type[SearchError] = SearchError
        if not said:
            kind, advice = OutOfTimeError, "Give it more minutes or fewer folds; the same command goes on from here."
        raise kind(f"The search of {self.name.partition(' on ')[0]} found no settings: {reasons}. {advice}")

    def defaults(self) -> float | None:
        """What the model's defaults reached, if they were measured."""
        mine = self.optuna.user_attrs[_DEFAULTS]
        done = [t for t in self.tried() if t.state == TrialState.COMPLETE and t.params == mine]
        return float(done[0].values[0]) if done else None

    def note(self) -> str:
        """How far it is, in a line."""
        tried, measured = self.tried(), self.measured()
        if not measured:
            return f"{len(tried)} tried"
        best, first = self.best(), self.defaults()
        gain = f", {best.values[0] / first - 1:+.1%} on the defaults" if first else ""
        return f"NDCG@10 {best.values[0]:.4f}{gain} (trial {best.number} of {len(tried)})"

    def over(self, budget: Budget) -> bool:
        """Whether there is nothing left to try."""
        return self._over(self.tried(), budget)

    def _over(self, tried: Sequence[FrozenTrial], budget: Budget) -> bool:
        """Whether the grid or the budget is spent, or more trials would be in vain."""
        exhausted = self.plan.method == "grid" and not self._in(TrialState.WAITING)
        ended = [trial for trial in tried if trial.state.is_finished()]
        mine = [trial.state for trial in ended if trial.number >= self.began]
        hopeless = len(mine) >= _HOPELESS and set(mine) == {TrialState.FAIL}
        spent = budget.trials is not None and len(tried) >= budget.trials
        return exhausted or spent or hopeless or since_better(ended) >= budget.patience

    def give_back(self, number: int, reason: str, times: int | None = None) -> None:
        """End a trial of which nothing is known, and queue its settings again; `times` it took its worker with it."""
        for trial in self._in(TrialState.RUNNING):
            if trial.number == number:
                taken = trial.user_attrs.get(_TIMES, 0) if times is None else times
                settings = trial_settings(trial)
                if settings not in [trial_settings(other) for other in self._in(TrialState.WAITING)]:
                    self.optuna.enqueue_trial(settings, user_attrs={_TIMES: taken})
                self._mark(trial, INTERRUPTED, reason)
                self.optuna.tell(number, state=TrialState.FAIL)

    def _mark(self, trial: FrozenTrial, name: str, value: Any) -> None:
        self.optuna._storage.set_trial_user_attr(trial._trial_id, name, value)

    def _lock(self, number: int) -> str:
        return f"search: {self.name}: trial {number}"

    def _reap(self) -> None:
        """Trials that nobody tries any more, because their worker is gone, come back."""
        for trial in self._in(TrialState.RUNNING):
            with suppress(LockHeldError), locked(self.engine, self._lock(trial.number)):
                left = [same for same in self._in(TrialState.RUNNING) if same.number == trial.number]
                for lost in left:  # it may have ended before its lock was free
                    self._bring_back(lost)

    def _bring_back(self, trial: FrozenTrial) -> None:
        """Once: a setting that takes its worker with it must not take every other one."""
        times, said = trial.user_attrs.get(_TIMES, 0) + 1, "its worker was gone before it ended"
        if trial.number in self.lost:
            self.give_back(trial.number, "a server was away")
        elif times > 1:
            self._mark(trial, ERROR, f"{said}, twice")
            self.optuna.tell(trial.number, state=TrialState.FAIL)
        else:
            self.give_back(trial.number, said, times)

    def _in(self, *states: TrialState) -> list[FrozenTrial]:
        found: list[FrozenTrial] = self.optuna.get_trials(deepcopy=False, states=states)
        return found

    def _next(self, budget: Budget) -> Trial | str:
        tried = self.tried()
        if self._over(tried, budget):
            return WAIT if any(trial.state == TrialState.RUNNING for trial in tried) else DONE
        self.optuna.sampler = sampler(self.plan, len(tried))
        return self.optuna.ask(distributions(self.space))


@dataclass(frozen=True)
class Assignment:
    """A setting to try."""

    trial: Trial
    confirm: Callable[[], None]
    """Raises OperationalError when the right to it was lost with a connection."""


def _storage(installation: Installation) -> optuna.storages.RDBStorage:
    """Optuna's tables, in a schema of their own."""
    url = make_url(installation.endpoints.database_url).update_query_dict({"options": "-csearch_path=optuna"})
    address = url.render_as_string(hide_password=False)
    return optuna.storages.RDBStorage(address, engine_kwargs={"pool_pre_ping": True, "hide_parameters": True})


def _name(storage: optuna.storages.RDBStorage, topic: str, fresh: bool) -> str:
    """The study's name: studies of one topic are numbered from the second on."""
    known = set(optuna.get_all_study_names(storage))
    names = [topic, *(f"{topic} {number}" for number in range(2, len(known) + 3))]
    place = next(place for place, name in enumerate(names) if name not in known)
    return names[place if fresh else max(0, place - 1)]
