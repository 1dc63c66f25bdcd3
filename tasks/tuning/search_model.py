"""Searches a model's settings: several workers may share a search, and a killed one goes on where it stopped."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

from prefect import State, task

from infra.bundles.promoted import verify_promoted
from infra.installation import Installation, current
from infra.registry.client import Registry
from models import catalog
from models.primitives.threads import allowed_threads
from models.recommenders.search_space import Parameter, within
from models.tuning.study_config import Budget, OutOfTimeError, SearchError, SearchPlan
from tasks.datasets.load_dataset import manifest_of
from tasks.orchestration.progress import progress
from tasks.orchestration.pseudonym_key_guard import hold_pseudonym_key
from tasks.orchestration.run_artifacts import announce, log_info
from tasks.promotion.champion import current_champion
from tasks.tuning.best_settings import Result, find_other_search_result, find_search_result, find_settings, moved, store
from tasks.tuning.deadline import Deadline
from tasks.tuning.mlflow_record import Record, table
from tasks.tuning.study import GRID, Study
from tasks.tuning.worker import StopCondition, Worker

MOST_WORKERS: Final = 32
"""On one machine: each has connections to PostgreSQL."""
_LOOK: Final = 0.5  # seconds between two looks at how far a search is


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
) -> Result:
    """Try settings of a model until the budget is spent; returns and stores the best. The test weeks stay unseen.

    The minutes of the budget are for all of it: opening the study, trials, and storing what was found, for which the
    seconds that it took another model (`storing`) are kept. As long as nothing was found it may take so many seconds
    `longer`. What there was no time for is in `skipped`.

    The defaults are tried first, then what is known to be good: the champion's settings, and those that an earlier
    search found. `workers` try as many settings at a time on this machine. A study that is there goes on, unless a
    `fresh` one is asked for; one that is over leaves what is stored. Raises SearchError when nothing was found.
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
    if budget.trials:  # a short search tries what is known to be good, at least
        budget = replace(budget, trials=max(budget.trials, len(first)))
    points = budget.trials or GRID
    study = Study.open(installation, f"{kind} on {version}", plan, space, first, points=points, fresh=fresh)
    skipped, took = [], 0.0
    if not (study.over(budget) and study.finished() and find_search_result(installation, version, kind)):
        with Record.of(registry, study, version, kind).closed_on_error() as record:
            opening, drift = deadline.spent, _drift(installation, version, kind)
            trials, longest = deadline.for_trials(opening), deadline.for_trials(opening, longer=longer)
            end = StopCondition(trials, longest, bool(study.measured()))
            _Search(study, kind, budget, end).run(partial(Worker, study, record, version, kind, budget), workers)
            began = deadline.spent
            skipped = _store(installation, record, study, version, kind, drift, deadline)
            took = deadline.spent - began
    if skipped:
        announce(f"{kind}: no time was left to draw {', '.join(skipped)}")
    found = _found(study, version, kind)
    shown = {"page": registry.page(found["run_id"]), "best": study.best().params, "skipped": skipped, "storing": took}
    return found | shown | {"defaults": study.defaults(), "tried": table(study)}


def search_models(
    version: str,
    kinds: Sequence[str],
    plan: SearchPlan,
    budget: Budget,
    workers: int,
    fresh: bool,
) -> list[State[Result]]:
    """Search one model after the other within the minutes of the budget, which they share; returns their states."""
    deadline = Deadline(budget.minutes and 60 * budget.minutes)
    states: list[State[Result]] = []
    storing: float | None = None
    for place, kind in enumerate(kinds):
        mine = replace(budget, minutes=deadline.share(len(kinds) - place))
        longer = max(0.0, deadline.left - 60 * (mine.minutes or 0.0))
        states.append(search_model(version, kind, plan, mine, workers, fresh, storing, longer, return_state=True))
        if states[-1].is_completed():
            storing = max(storing or 0.0, states[-1].result()["storing"])
    return states


def searchable(kinds: Sequence[str]) -> list[Mapping[str, Parameter]]:
    """The spaces of these models; raises SearchError when one has none, UnknownModelError when there is none."""
    spaces = {kind: catalog.model_type(kind).space for kind in kinds}
    empty = [kind for kind, space in spaces.items() if not space]
    if empty:
        raise SearchError(f"There are no settings to search of: {', '.join(empty)}.")
    return [*spaces.values()]


def _first(installation: Installation, version: str, kind: str) -> list[dict[str, Any]]:
    """Where a search begins: the defaults, the best of earlier searches, the champion's own if it is such a model."""
    known = [asdict(catalog.config(kind))]
    earlier = find_settings(installation, version, kind)
    known += [earlier["config"]] if earlier else []
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    if champion and champion["kind"] == kind:
        known.append(verify_promoted(champion).parameters)
    settings = [within(catalog.model_type(kind).space, one) for one in known]
    return [one for place, one in enumerate(settings) if one not in settings[:place]]


def successful_searches(states: Sequence[State[Result]]) -> list[Result]:
    """Return what the searches found; those that ran out of time are told, if any other found something.

    Raises what the first of the others that found nothing raised, or the first of all if none found anything.
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
    """One run's part in a search, as it is shown."""

    study: Study
    kind: str
    budget: Budget
    end: StopCondition
    tried: int = 0
    best: int | None = None
    """The number of the best trial so far."""
    note: str = ""

    def run(self, worker: Callable[..., Worker], workers: int) -> None:
        """Let workers try settings, and show how far they are."""
        threads = max(1, allowed_threads() // workers)
        with progress(f"search {self.kind}", 1000) as advance, ThreadPoolExecutor(workers) as pool:
            working = {pool.submit(worker(self.end, self._hear).run, threads) for _ in range(workers)}
            try:
                self._watch(working, advance)
            finally:
                self.end.called.set()  # also when somebody stops the run: processes end, and the pool with them

    def _watch(self, working: set[Future[None]], advance: Callable[..., None]) -> None:
        shown, told = 0, None
        while working:
            done, working = wait(working, _LOOK)
            for future in done:
                future.result()
            of_trials = self.tried / self.budget.trials if self.budget.trials else 0.0
            now = round(1000 * min(1.0, max(of_trials, self.end.share())))
            advance(max(0, now - shown), note=self.note)
            if self.best != told:
                log_info(self.note)
            shown, told = max(now, shown), self.best

    def _hear(self) -> None:
        self.tried, self.note = len(self.study.tried()), self.study.note()
        self.best = self.study.best().number if self.study.measured() else None
        self.end.found = self.best is not None


def _found(study: Study, version: str, kind: str) -> Result:
    """What a search has found, as it is stored."""
    best = study.best()
    settings = asdict(catalog.config(kind, best.params))
    row: Result = {"dataset_version": version, "model": kind, "study": study.name, "config": settings}
    return row | {"ndcg_10": best.values[0], "trials": len(study.tried()), "run_id": study.run_id}


def _drift(installation: Installation, version: str, kind: str) -> float | None:
    """Return how far users have moved since the last search of this model on another data set."""
    before = find_other_search_result(installation, version, kind)
    return moved(before["dataset_version"], version) if before else None


def _store(
    installation: Installation,
    record: Record,
    study: Study,
    version: str,
    kind: str,
    drift: float | None,
    deadline: Deadline,
) -> list[str]:
    """Store what was found; returns the plots for which no time was left."""
    with study.locked():
        if study.measured():
            store(installation, _found(study, version, kind) | {"drift": drift})
        skipped = record.finish(study, deadline.over)
        study.best()  # raises SearchError when there is none: such a search is not finished
        study.finish()
    return skipped
