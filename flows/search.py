"""Searches settings."""

from prefect import flow

from models.tuning.study_config import Budget, Method, SearchPlan, TrialLimits
from tasks.datasets.load_dataset import newest_version
from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Models
from tasks.orchestration.run_artifacts import show_search
from tasks.tuning.model_search import ModelSearch

SEARCHED = ["own_frequency", "als", "two_stage"]


@flow(flow_run_name=run_names.flow_run_name(run_names.of_models("search")))
def search(
    dataset_version: str | None = None,
    models: Models = SEARCHED,
    method: Method = "tpe",
    trials: int | None = 20,
    minutes: float | None = None,
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
    """Search the best settings of models on the weeks before the test; `train` uses what is found.

    Runs of the same search at a time share its study; one that was killed goes on where it stopped.

    Args:
        dataset_version: The data set; by default the newest.
        models: Kinds of model to search.
        method: tpe learns from what it has tried, grid tries evenly spaced settings, random any.
        trials: How many settings to try of each model; empty when minutes are to end the search.
        minutes: How long the run may take, shared by the models; empty when trials are to end it.
        workers: Settings that this run tries at a time.
        folds: Stretches of time to measure settings on, the last one the validation weeks.
        coverage: Give a hundredth of the accuracy for more of the catalogue shown.
        fit_seconds: Seconds that the fit of a setting may take; empty for no limit.
        memory_mb: MB of memory that a setting may take; empty for no limit.
        artifact_mb: MB that the stored model may have; empty for no limit.
        patience: End after so many settings without a better one.
        seed: The same seed and one worker find the same.
        fresh: Begin a new study instead of going on with the one there is.
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
