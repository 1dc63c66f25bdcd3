"""Searches a model's settings: several workers may share a search, and a killed one goes on where it stopped."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final

from prefect import task

from infra.installation import Installation, current
from infra.promoted_bundles import verify_promoted
from infra.registry import Registry
from models import catalog
from models.search_plan import Budget, SearchError, SearchPlan
from models.space import Parameter, within
from models.threads import allowed_threads
from tasks.champion import champion
from tasks.load_dataset import manifest_of
from tasks.progress import progress
from tasks.report import tell
from tasks.search.record import Record, table
from tasks.search.results import Result, best_elsewhere, best_for, moved, store, stored_best
from tasks.search.study import GRID, Study
from tasks.search.worker import End, Worker
from tasks.steady_keys import steady_keys

MOST_WORKERS: Final = 32
"""On one machine: each has connections to PostgreSQL."""
_LOOK: Final = 0.5  # seconds between two looks at how far a search is


@task(
    task_run_name="search {kind}",
    description="Hyperparameter search of one model on the validation weeks and stretches before them.",
)
@steady_keys
def search_model(
    version: str, kind: str, plan: SearchPlan, budget: Budget, workers: int = 1, fresh: bool = False
) -> Result:
    """Try settings of a model until the budget is spent; returns and stores the best. The test weeks stay unseen.

    The defaults are tried first, then what is known to be good: the champion's settings, and those that an earlier
    search found. `workers` try as many settings at a time on this machine. A study that is there goes on, unless a
    `fresh` one is asked for; one that is over leaves what is stored. Raises SearchError when nothing was found.
    """
    here = current()
    registry = Registry(here.endpoints.mlflow_tracking_uri)
    space = searchable([kind])[0]
    manifest_of(here, version)
    if not 1 <= workers <= MOST_WORKERS:
        raise SearchError(f"A search has from 1 to {MOST_WORKERS} workers on one machine.")
    first = _first(here, version, kind)
    if budget.trials:  # a short search tries what is known to be good, at least
        budget = replace(budget, trials=max(budget.trials, len(first)))
    points = budget.trials or GRID
    study = Study.open(here, f"{kind} on {version}", plan, space, first, points=points, fresh=fresh)
    if not (study.over(budget) and study.finished() and stored_best(here, version, kind)):
        with Record.of(registry, study, version, kind).closed_on_error() as record:
            _Search(study, kind, budget).run(partial(Worker, study, record, version, kind, budget), workers)
            _store(here, record, study, version, kind)
    found = _found(study, version, kind)
    shown = {"page": registry.page(found["run_id"]), "best": study.best().params}
    return found | shown | {"defaults": study.defaults(), "tried": table(study)}


def searchable(kinds: Sequence[str]) -> list[Mapping[str, Parameter]]:
    """The spaces of these models; raises SearchError when one has none, UnknownModelError when there is none."""
    spaces = {kind: catalog.model_type(kind).space for kind in kinds}
    empty = [kind for kind, space in spaces.items() if not space]
    if empty:
        raise SearchError(f"There are no settings to search of: {', '.join(empty)}.")
    return [*spaces.values()]


def _first(here: Installation, version: str, kind: str) -> list[dict[str, Any]]:
    """Where a search begins: the defaults, the best of earlier searches, the champion's own if it is such a model."""
    known = [asdict(catalog.config(kind))]
    earlier = best_for(here, version, kind)
    known += [earlier["config"]] if earlier else []
    with here.engine.connect() as connection:
        holder = champion(connection)
    if holder and holder["kind"] == kind:
        known.append(verify_promoted(holder)["parameters"])
    settings = [within(catalog.model_type(kind).space, one) for one in known]
    return [one for place, one in enumerate(settings) if one not in settings[:place]]


@dataclass
class _Search:
    """One run's part in a search, as it is shown."""

    study: Study
    kind: str
    budget: Budget
    tried: int = 0
    best: int | None = None
    """The number of the best trial so far."""
    note: str = ""
    end: End = field(init=False)

    def __post_init__(self) -> None:
        self.end = End(self.budget.minutes)

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
                tell(self.note)
            shown, told = max(now, shown), self.best

    def _hear(self) -> None:
        self.tried, self.note = len(self.study.tried()), self.study.note()
        self.best = self.study.best().number if self.study.measured() else None


def _found(study: Study, version: str, kind: str) -> Result:
    """What a search has found, as it is stored."""
    best = study.best()
    settings = asdict(catalog.config(kind, best.params))
    row: Result = {"dataset_version": version, "model": kind, "study": study.name, "config": settings}
    return row | {"ndcg_10": best.values[0], "trials": len(study.tried()), "run_id": study.run_id}


def _store(here: Installation, record: Record, study: Study, version: str, kind: str) -> None:
    with study.locked():
        record.finish(study)
        before = best_elsewhere(here, version, kind)
        drift = moved(before["dataset_version"], version) if before else None
        store(here, _found(study, version, kind) | {"drift": drift})
        study.finish()
