"""The study of a search: stored in Postgres and shared by all workers of the search, on any machine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final, Self

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Engine, NullPool, create_engine, make_url

from infra.installation import Installation
from infra.locks import LockHeldError, locked
from models.primitives.json_types import JsonObject
from models.recommenders.search_space import Choice, Integer, Parameter, grid
from models.tuning.study_config import NEW_METRIC, Budget, OutOfTimeError, SearchError, SearchPlan

WAIT: Final = "wait"
DONE: Final = "done"
INTERRUPTED: Final = "interrupted"
"""The attribute of a trial that was interrupted and has no result; it does not count."""
ERROR: Final = "error"
RUN: Final = "run_id"
"""The attribute of a study with its run in MLflow."""
_FINISHED: Final = "finished_after"
_INTERRUPTIONS: Final = "interruptions"
_DEFAULTS: Final = "defaults"
_MAX_FAILURES: Final = 5
"""Failed settings, without a single success, after which a search gives up."""
GRID: Final = 200
"""Settings of a grid if only time ends the search."""

optuna.logging.set_verbosity(optuna.logging.WARNING)
_RANDOM_TRIALS: Final = 8
"""Settings that TPE draws at random before it learns from results."""


@dataclass(frozen=True)
class Study:
    """The trials of a search. Database locks mark the running ones, because a killed worker loses its locks."""

    engine: Engine
    plan: SearchPlan
    space: Mapping[str, Parameter]
    optuna: optuna.Study
    began: int = 0
    """Number of trials when this run opened the study."""
    lost: set[int] = field(default_factory=set)
    """Trials that this run gave up because a server was away."""

    @classmethod
    def open(
        cls,
        installation: Installation,
        topic: str,
        plan: SearchPlan,
        space: Mapping[str, Parameter],
        first: Sequence[Mapping[str, object]],
        *,
        points: int = GRID,
        fresh: bool = False,
    ) -> Self:
        """Open the newest study of a topic and plan; create one if there is none or if `fresh`.

        A new study begins with the settings of `first`, starting with the defaults. A grid has at most `points`
        settings, including those.
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

    def _begin(self, first: Sequence[Mapping[str, object]], points: int) -> None:
        """Queue the first settings; after a killed start, the missing ones are added."""
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
        """Return the study's name in Postgres."""
        return str(self.optuna.study_name)

    @property
    def run_id(self) -> str | None:
        """Return the study's run in MLflow."""
        run_id: str | None = self.optuna.user_attrs.get(RUN)
        return run_id

    def finish(self) -> None:
        """Record that the result of all trials so far is stored."""
        self.optuna.set_user_attr(_FINISHED, len(self.tried()))

    def finished(self) -> bool:
        """Return whether no trial was added since the result was stored."""
        return bool(self.optuna.user_attrs.get(_FINISHED) == len(self.tried()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the study for one worker."""
        with locked(self.engine, f"search: {self.name}", wait=True):
            yield

    @contextmanager
    def next_assignment(self, budget: Budget) -> Iterator["Assignment | str"]:
        """Yield the next setting to try, locked against other workers within the block.

        Yields DONE if the search has ended, and WAIT if others still try the last settings, which may come back.
        """
        with ExitStack() as stack:
            with self.locked():
                self._reap()
                trial = self._next(budget)
                if isinstance(trial, Trial):
                    self.lost.add(trial.number)  # if an error ends the block, this worker is still alive
                    confirm = stack.enter_context(locked(self.engine, self._lock(trial.number)))
            yield Assignment(trial, confirm) if isinstance(trial, Trial) else trial
            self.lost.difference_update([trial.number] if isinstance(trial, Trial) else [])

    def tried(self) -> list[FrozenTrial]:
        """Return the trials that count: running ones, and those that ended without an interruption."""
        ended_or_under_way = self._in(*(state for state in TrialState if state != TrialState.WAITING))
        return [trial for trial in ended_or_under_way if INTERRUPTED not in trial.user_attrs]

    def measured(self) -> list[FrozenTrial]:
        """Return the trials that were measured on all folds and kept the limits."""
        return [trial for trial in self.tried() if within_limits(trial)]

    def best(self) -> FrozenTrial:
        """Return the best trial by the plan; raises SearchError with the trials' reasons if there is none."""
        measured = self.measured()
        if measured:
            return measured[self.plan.best([trial.values for trial in measured])]
        failures = {str(t.user_attrs.get(ERROR) or describe_failure(t)) for t in self.tried() if t.state.is_finished()}
        reasons = "; ".join(sorted(failures)[:3]) or "no setting was measured on all folds in the time there was"
        advice = "Give it more time, fewer folds or higher limits; after fixing the cause, search with --fresh."
        kind: type[SearchError] = SearchError
        if not failures:
            kind, advice = OutOfTimeError, "Give it more minutes or fewer folds; the same command goes on from here."
        raise kind(f"The search of {self.name.partition(' on ')[0]} found no settings: {reasons}. {advice}")

    def default_value(self) -> float | None:
        """Return the value of the model's default settings, or None if they were not measured."""
        defaults = self.optuna.user_attrs[_DEFAULTS]
        done = [t for t in self.tried() if t.state == TrialState.COMPLETE and t.params == defaults]
        return float(done[0].values[0]) if done else None

    def note(self) -> str:
        """Return the progress in one line."""
        tried, measured = self.tried(), self.measured()
        if not measured:
            return f"{len(tried)} tried"
        best, default = self.best(), self.default_value()
        gain = f", {best.values[0] / default - 1:+.1%} on the defaults" if default else ""
        return f"NDCG@10 {best.values[0]:.4f}{gain} (trial {best.number} of {len(tried)})"

    def over(self, budget: Budget) -> bool:
        """Return whether there is nothing left to try."""
        return self._over(self.tried(), budget)

    def _over(self, tried: Sequence[FrozenTrial], budget: Budget) -> bool:
        """Return whether the grid or the budget is used up, or more trials would be useless."""
        exhausted = self.plan.method == "grid" and not self._in(TrialState.WAITING)
        ended = [trial for trial in tried if trial.state.is_finished()]
        own = [trial.state for trial in ended if trial.number >= self.began]
        all_failed = len(own) >= _MAX_FAILURES and set(own) == {TrialState.FAIL}
        spent = budget.trials is not None and len(tried) >= budget.trials
        return exhausted or spent or all_failed or since_better(ended) >= budget.patience

    def give_back(self, number: int, reason: str, times: int | None = None) -> None:
        """End a trial without a result and queue its settings again; `times` counts the workers it killed."""
        for trial in self._in(TrialState.RUNNING):
            if trial.number == number:
                interruptions = trial.user_attrs.get(_INTERRUPTIONS, 0) if times is None else times
                settings = trial_settings(trial)
                if settings not in [trial_settings(other) for other in self._in(TrialState.WAITING)]:
                    self.optuna.enqueue_trial(settings, user_attrs={_INTERRUPTIONS: interruptions})
                self._mark(trial, INTERRUPTED, reason)
                self.optuna.tell(number, state=TrialState.FAIL)

    def _mark(self, trial: FrozenTrial, name: str, value: str) -> None:
        self.optuna._storage.set_trial_user_attr(trial._trial_id, name, value)

    def _lock(self, number: int) -> str:
        return f"search: {self.name}: trial {number}"

    def _reap(self) -> None:
        """Queue the trials of dead workers again."""
        for trial in self._in(TrialState.RUNNING):
            with suppress(LockHeldError), locked(self.engine, self._lock(trial.number)):
                still_running = [same for same in self._in(TrialState.RUNNING) if same.number == trial.number]
                for lost in still_running:  # it may have ended before its lock was free
                    self._bring_back(lost)

    def _bring_back(self, trial: FrozenTrial) -> None:
        """Queue a trial again, but only once: a setting that kills its worker must not kill the others."""
        times, reason = trial.user_attrs.get(_INTERRUPTIONS, 0) + 1, "its worker was gone before it ended"
        if trial.number in self.lost:
            self.give_back(trial.number, "a server was away")
        elif times > 1:
            self._mark(trial, ERROR, f"{reason}, twice")
            self.optuna.tell(trial.number, state=TrialState.FAIL)
        else:
            self.give_back(trial.number, reason, times)

    def _in(self, *states: TrialState) -> list[FrozenTrial]:
        trials: list[FrozenTrial] = self.optuna.get_trials(deepcopy=False, states=states)
        return trials

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
    """Raises OperationalError if the lock was lost with its connection."""


def _storage(installation: Installation) -> optuna.storages.RDBStorage:
    """Return the storage of Optuna's tables, in a schema of their own."""
    url = make_url(installation.endpoints.database_url).update_query_dict({"options": "-csearch_path=optuna"})
    address = url.render_as_string(hide_password=False)
    return optuna.storages.RDBStorage(address, engine_kwargs={"pool_pre_ping": True, "hide_parameters": True})


def _name(storage: optuna.storages.RDBStorage, topic: str, fresh: bool) -> str:
    """Return the study's name; studies of one topic are numbered from the second on."""
    known = set(optuna.get_all_study_names(storage))
    names = [topic, *(f"{topic} {number}" for number in range(2, len(known) + 3))]
    place = next(place for place, name in enumerate(names) if name not in known)
    return names[place if fresh else max(0, place - 1)]


def settings_for_new_items(installation: Installation, name: str) -> JsonObject | None:
    """Return the settings of a study that ranked items new to the user best; None if none was measured on them."""
    try:
        study = optuna.load_study(study_name=name, storage=_storage(installation))
    except KeyError:  # it was deleted
        return None
    known = [one for one in study.get_trials(deepcopy=False) if within_limits(one) and NEW_METRIC in one.user_attrs]
    return max(known, key=lambda trial: float(trial.user_attrs[NEW_METRIC])).params if known else None


def trial_settings(trial: FrozenTrial) -> JsonObject:
    """Return the settings of a trial, also if it is queued or its worker died before all were drawn."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def within_limits(trial: FrozenTrial) -> bool:
    """Return whether the trial was measured on all folds and kept the limits."""
    return trial.state == TrialState.COMPLETE and all(excess <= 0 for excess in trial.constraints.values())


def shuffled_grid(plan: SearchPlan, space: Mapping[str, Parameter], limit: int) -> list[JsonObject]:
    """Return the points of a grid in random order, so that part of a large grid still covers its range."""
    points = grid(space, limit) if plan.method == "grid" else []
    Random(plan.seed).shuffle(points)  # noqa: S311 - nothing secret
    return points[:limit]


def since_better(ended: Sequence[FrozenTrial]) -> int:
    """Return the number of trials since the last one that was better in any objective than all before."""
    best: list[float] = []
    since = 0
    for trial in ended:
        better = within_limits(trial) and (
            not best or any(value > known for value, known in zip(trial.values, best, strict=True))
        )
        since = 0 if better else since + 1
        if better:
            best = [max(pair) for pair in zip(trial.values, best or trial.values, strict=True)]
    return since


def describe_failure(trial: FrozenTrial) -> str:
    """Return the reason why a measured trial does not count."""
    over = [f"{name} {excess:.0%} over its limit" for name, excess in trial.constraints.items() if excess > 0]
    return ", ".join(over) if over else "a trial was not measured on all folds"


def distributions(space: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    """Return the space as Optuna's distributions."""
    return {name: _distribution(parameter) for name, parameter in space.items()}


def _distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def sampler(plan: SearchPlan, tried: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of the next setting after `tried` others.

    Its random numbers depend only on the seed and `tried`, so an interrupted search continues as if it had not been.
    The settings of a grid are all queued at the start.
    """
    seed = (plan.seed * 100_003 + tried) % 2**32
    if plan.method == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM_TRIALS, multivariate=True)
    return optuna.samplers.RandomSampler(seed=seed)


def pruner(plan: SearchPlan) -> optuna.pruners.BasePruner:
    """Return the pruner. With one objective the better half goes on after folds 1, 2, 4, … (Li et al. 2020)."""
    if plan.coverage or plan.folds == 1:
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
