"""Searches a model's settings. Workers can share a search, and a killed search continues where it stopped."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Final

from prefect import State, task

from infra.bundles.promoted import verify_promoted
from infra.database.schema.promotion_rows import SearchResult
from infra.installation import Installation, current
from infra.registry.client import Registry
from models import catalog
from models.primitives.json_types import JsonObject
from models.primitives.threads import allowed_threads
from models.recommenders.search_space import Parameter, within
from models.tuning.study_config import Budget, OutOfTimeError, SearchError, SearchPlan
from tasks.datasets.load_dataset import manifest_of
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import announce, log_info
from tasks.promotion.champion import current_champion
from tasks.tuning.best_settings import (
    ModelSearch,
    default_settings,
    find_other_search_result,
    find_search_result,
    find_settings,
    store,
    user_shift,
)
from tasks.tuning.mlflow_record import Record, trial_rows
from tasks.tuning.study import GRID, Study
from tasks.tuning.worker import StopCondition, Worker

MOST_WORKERS: Final = 32
"""The limit on one machine, because each worker has connections to PostgreSQL."""
_POLL: Final = 0.5  # seconds between two updates of the progress
_STORING: Final = 10.0
"""Assumed seconds to store a result, before any search of this run was measured."""
_MOST: Final = 1 / 3
"""Largest part of a model's time that is reserved for storing. Otherwise a short search would try nothing."""


@dataclass
class Deadline:
    """The time for several models, one after the other. Without `seconds` it never ends."""

    seconds: float | None
    clock: Callable[[], float] = monotonic
    storing: float = _STORING
    """Seconds that storing takes: the longest time of this run, once there is one."""
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def spent(self) -> float:
        """Return the seconds since it began."""
        return self.clock() - self.began

    def share(self, models: int) -> float | None:
        """Return the minutes for the next of so many remaining models; unused time goes to later models."""
        return None if self.seconds is None else max(1.0, self.seconds - self.spent) / models / 60

    def for_trials(self, opening: float, *, longer: float = 0.0) -> float | None:
        """Return the seconds from now on for trying settings; `opening` is the duration of the first calls.

        A machine that was slow in them is slow at storing, too. `longer` are seconds borrowed from other models.
        """
        if self.seconds is None:
            return None
        seconds = self.seconds + longer
        reserve = min(max(self.storing, opening), _MOST * seconds)
        return max(0.0, seconds - self.spent - reserve)

    @property
    def remaining(self) -> float:
        """Return the seconds until it ends; 0 without an end."""
        return max(0.0, self.seconds - self.spent) if self.seconds is not None else 0.0

    def over(self) -> bool:
        """Return whether no time is left."""
        return self.seconds is not None and self.spent >= self.seconds


@task(
    task_run_name="search {kind}",
    description="Hyperparameter search of one model on the validation weeks and stretches before them.",
)
@hold_pseudonym_key
def search_model(
    version: str,
    kind: str,
    plan: SearchPlan,
    budget: Budget,
    workers: int = 1,
    fresh: bool = False,
    storing: float | None = None,
    longer: float = 0.0,
) -> ModelSearch:
    """Try settings of a model until the budget is used up; stores and returns the best. The test weeks stay unseen.

    The minutes of the budget include opening the study, all trials, and storing the result. For the latter `storing`
    seconds are reserved, which another model needed. Without any measured setting the search may take `longer` seconds
    more. Plots for which no time was left are in `skipped`.

    The defaults are tried first, then the best earlier settings and the champion's own. `workers` settings are tried at
    the same time on this machine. An existing study continues, unless `fresh`; a finished one is only read. Raises
    SearchError if no setting was measured.
    """
    deadline = Deadline(budget.minutes and 60 * budget.minutes)
    deadline.storing = storing or deadline.storing
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    space = searchable([kind])[0]
    manifest_of(installation, version)
    if not 1 <= workers <= MOST_WORKERS:
        raise SearchError(f"A search has from 1 to {MOST_WORKERS} workers on one machine.")
    first = _first(installation, version, kind)
    if budget.trials:  # a short search tries at least the known good settings
        budget = replace(budget, trials=max(budget.trials, len(first)))
    points = budget.trials or GRID
    study = Study.open(installation, f"{kind} on {version}", plan, space, first, points=points, fresh=fresh)
    skipped: list[str] = []
    took = 0.0
    if not (study.over(budget) and study.finished() and find_search_result(installation, version, kind)):
        with Record.open(registry, study, version, kind).closed_on_error() as record:
            opening, drift = deadline.spent, _drift(installation, version, kind)
            trials, longest = deadline.for_trials(opening), deadline.for_trials(opening, longer=longer)
            stop = StopCondition(trials, longest, bool(study.measured()))
            _Search(study, kind, budget, stop).run(partial(Worker, study, record, version, kind, budget), workers)
            began = deadline.spent
            skipped = _store(installation, record, study, version, kind, drift, deadline)
            took = deadline.spent - began
    if skipped:
        announce(f"{kind}: no time was left to draw {', '.join(skipped)}")
    result = _result(study, version, kind)
    return {
        **result,
        "page": registry.page(result["run_id"] or ""),
        "best": study.best().params,
        "skipped": skipped,
        "storing": took,
        "defaults": study.default_value(),
        "tried": trial_rows(study),
    }


def search_models(
    version: str,
    kinds: Sequence[str],
    plan: SearchPlan,
    budget: Budget,
    workers: int,
    fresh: bool,
) -> list[State[ModelSearch]]:
    """Search one model after the other within the minutes of the budget, which they share; returns their states."""
    deadline = Deadline(budget.minutes and 60 * budget.minutes)
    states: list[State[ModelSearch]] = []
    storing: float | None = None
    for place, kind in enumerate(kinds):
        share = replace(budget, minutes=deadline.share(len(kinds) - place))
        longer = max(0.0, deadline.remaining - 60 * (share.minutes or 0.0))
        states.append(search_model(version, kind, plan, share, workers, fresh, storing, longer, return_state=True))
        if states[-1].is_completed():
            storing = max(storing or 0.0, states[-1].result()["storing"])
    return states


def searchable(kinds: Sequence[str]) -> list[Mapping[str, Parameter]]:
    """Return the search spaces of these models. Raises SearchError for an empty space and TailorbirdError."""
    spaces = {kind: catalog.model_type(kind).space for kind in kinds}
    empty = [kind for kind, space in spaces.items() if not space]
    if empty:
        raise SearchError(f"There are no settings to search of: {', '.join(empty)}.")
    return [*spaces.values()]


def _first(installation: Installation, version: str, kind: str) -> list[JsonObject]:
    """Return the first settings: the defaults, the best earlier ones, and those of a champion of this kind."""
    known = [default_settings(installation, version, kind)]
    earlier = find_settings(installation, version, kind)
    known += [earlier["config"]] if earlier else []
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    if champion and champion["kind"] == kind:
        known.append(verify_promoted(champion).parameters)
    settings = [within(catalog.model_type(kind).space, one) for one in known]
    return [one for place, one in enumerate(settings) if one not in settings[:place]]


def successful_searches(states: Sequence[State[ModelSearch]]) -> list[ModelSearch]:
    """Return the results of the successful searches and announce those that ran out of time.

    Raises the first error of another kind, or the first error of all if no search was successful.
    """
    failed = [state for state in states if not state.is_completed()]
    late = [state.result(raise_on_failure=False) for state in failed]
    if len(failed) == len(states) or not all(isinstance(error, OutOfTimeError) for error in late):
        return [state.result() for state in (*failed, *states)]
    for error in late:
        announce(str(error))
    return [state.result() for state in states if state.is_completed()]


@dataclass
class _Search:
    """The part of one run in a search, with its progress."""

    study: Study
    kind: str
    budget: Budget
    stop: StopCondition
    tried: int = 0
    best: int | None = None
    """The number of the best trial so far."""
    note: str = ""

    def run(self, worker: Callable[..., Worker], workers: int) -> None:
        """Let workers try settings and show their progress."""
        threads = max(1, allowed_threads() // workers)
        with progress(f"search {self.kind}", 1000) as advance, ThreadPoolExecutor(workers) as pool:
            working = {pool.submit(worker(self.stop, self._update).run, threads) for _ in range(workers)}
            try:
                self._watch(working, advance)
            finally:
                self.stop.stopped.set()  # also after an interrupt, so that processes and the pool end

    def _watch(self, working: set[Future[None]], advance: Callable[..., None]) -> None:
        shown, logged = 0, None
        while working:
            done, working = wait(working, _POLL)
            for future in done:
                future.result()
            share_of_trials = self.tried / self.budget.trials if self.budget.trials else 0.0
            now = round(1000 * min(1.0, max(share_of_trials, self.stop.share())))
            advance(max(0, now - shown), note=self.note + self.stop.left())
            if self.best != logged:
                log_info(self.note)
            shown, logged = max(now, shown), self.best

    def _update(self) -> None:
        self.tried, self.note = len(self.study.tried()), self.study.note()
        self.best = self.study.best().number if self.study.measured() else None
        self.stop.any_measured = self.best is not None


def _result(study: Study, version: str, kind: str) -> SearchResult:
    """Return the result of a search as it is stored."""
    best = study.best()
    return {
        "dataset_version": version,
        "model": kind,
        "study": study.name,
        "config": asdict(catalog.config(kind, best.params)),
        "ndcg_10": best.values[0],
        "trials": len(study.tried()),
        "run_id": study.run_id,
    }


def _drift(installation: Installation, version: str, kind: str) -> float | None:
    """Return how far users have moved since the last search of this model on another data set."""
    other = find_other_search_result(installation, version, kind)
    return user_shift(other["dataset_version"], version) if other else None


def _store(
    installation: Installation,
    record: Record,
    study: Study,
    version: str,
    kind: str,
    drift: float | None,
    deadline: Deadline,
) -> list[str]:
    """Store the result; returns the plots for which no time was left."""
    with study.locked():
        if study.measured():
            store(installation, {**_result(study, version, kind), "drift": drift})
        skipped = record.finish(study, deadline.over)
        study.best()  # raises SearchError if there is none: such a search is not finished
        study.finish()
    return skipped
