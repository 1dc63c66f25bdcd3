"""Searches the best settings of models."""

from prefect import flow

from models.tuning.study_config import Budget, Method, SearchPlan, TrialLimits
from tasks.datasets.load_dataset import newest_version
from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Models
from tasks.orchestration.run_artifacts import show_search
from tasks.tuning.best_settings import ModelSearch

TRIALS, MINUTES = 20, 10.0
SEARCHED = ["own_frequency", "als", "item_knn", "two_stage"]


@flow(flow_run_name=run_names.flow_run_name(run_names.of_models("search")))
def search(
    dataset_version: str | None = None,
    models: Models = SEARCHED,
    method: Method = "tpe",
    trials: int | None = TRIALS,
    minutes: float | None = MINUTES,
    workers: int = 1,
    folds: int = 2,
    coverage: bool = False,
    fit_seconds: float | None = None,
    memory_mb: float | None = None,
    artifact_mb: float | None = None,
    patience: int = 30,
    seed: int = 7,
    fresh: bool = False,
) -> list[ModelSearch]:
    """Search the best settings of models on the weeks before the test; `train` uses them.

    Simultaneous runs of the same search share its study. A killed search continues where it stopped.

    Args:
        dataset_version: The data set; by default the newest.
        models: Kinds of model to search.
        method: tpe learns from earlier settings, grid tries evenly spaced ones, random tries random ones.
        trials: How many settings to try per model; empty if only the minutes limit the search.
        minutes: How many minutes the run may take for all models; empty if only the trials limit it.
        workers: How many settings this run tries at a time.
        folds: How many time periods settings are measured on; the last one is the validation weeks.
        coverage: Trade a hundredth of the accuracy for a larger share of the catalogue in lists.
        fit_seconds: The longest time that a fit may take, in seconds; empty for no limit.
        memory_mb: The most memory that a fit may use, in MB; empty for no limit.
        artifact_mb: The largest size of a stored model, in MB; empty for no limit.
        patience: End after this many settings without an improvement.
        seed: The random seed; one worker with the same seed finds the same settings.
        fresh: Start a new study instead of continuing the existing one.
    """
    from tasks.tuning.search_model import (  # with Optuna, which no other flow needs
        search_models,
        searchable,
        successful_searches,
    )

    searchable(models)
    version = dataset_version or newest_version()
    plan = SearchPlan(method, folds, coverage, TrialLimits(fit_seconds, memory_mb, artifact_mb), seed)
    states = search_models(version, models, plan, Budget(trials, minutes, patience), workers, fresh)
    show_search(version, [state.result() for state in states if state.is_completed()])
    return successful_searches(states)
