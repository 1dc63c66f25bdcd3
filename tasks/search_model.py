"""Searches a model's settings with Optuna; the study lives in Postgres, so a killed search goes on where it stopped."""

import logging
from dataclasses import asdict
from typing import Any

import optuna
from prefect import task
from sqlalchemy import make_url, select
from sqlalchemy.dialects.postgresql import insert

from infra.installation import Installation, current
from infra.registry import Registry
from infra.schema import search_results
from infra.version import git_commit
from models import catalog
from models.dataset import Dataset
from models.evaluation.evaluate import evaluate
from models.most_popular import popularity
from tasks.ledger import hold
from tasks.load_dataset import open_dataset
from tasks.progress import progress
from tasks.search_space import suggest

METRIC = "ndcg_at_10"
Result = dict[str, Any]

optuna.logging.set_verbosity(optuna.logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)


def stored_best(here: Installation, version: str, kind: str) -> Result | None:
    """What the search of this model on this data set found, or None when there was none."""
    mine = (search_results.c.dataset_version == version, search_results.c.model == kind)
    with here.engine.connect() as connection:
        row = connection.execute(select(search_results).where(*mine)).mappings().first()
    return dict(row) if row else None


def _study(here: Installation, name: str, seed: int) -> optuna.Study:
    """The study of that name, with the trials that a crash left open marked as failed."""
    url = make_url(here.endpoints.database_url).update_query_dict({"options": "-csearch_path=optuna"})
    study = optuna.create_study(
        storage=optuna.storages.RDBStorage(url.render_as_string(hide_password=False)),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=4),
    )
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _objective(dataset: Dataset, kind: str, seed: int) -> Any:
    """Accuracy in the validation weeks of a model that learned before them."""
    model = catalog.model_type(kind)
    data = dataset.training_data(dataset.cuts.validation_from)
    wanted = dataset.holdout(data, dataset.cuts.test_from)
    fallback = popularity(data)

    def objective(trial: optuna.Trial) -> float:
        fitted = model.fit(data, catalog.config(kind, suggest(trial, model.space)), seed)
        return evaluate(fitted, data, wanted, fallback, brief=True).summary[METRIC]

    return objective


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    done: list[optuna.trial.FrozenTrial] = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    return done


def _run_trials(study: optuna.Study, dataset: Dataset, kind: str, trials: int, seed: int) -> None:
    missing = trials - len(_finished(study))
    model = catalog.model_type(kind)
    if not study.trials:
        defaults = asdict(catalog.config(kind))
        study.enqueue_trial({name: defaults[name] for name in model.space})
    with progress(f"search {kind}", missing) as advance:

        def tell(study: optuna.Study, _trial: optuna.trial.FrozenTrial) -> None:
            advance(note=f"best {METRIC} {study.best_value:.4f}")

        study.optimize(_objective(dataset, kind, seed), n_trials=missing, callbacks=[tell])


@task(description="Hyperparameter search of one model on the validation weeks.")
def search_model(version: str, kind: str, trials: int, seed: int = 7) -> Result:
    """Bring the study of `kind` on a data set to `trials` finished trials; returns and stores its best settings.

    The model's defaults are the first trial. The test weeks stay unseen.
    """
    here = current()
    found = stored_best(here, version, kind)
    if found and found["trials"] >= trials:
        return found
    name = f"{kind} on {version}"
    with hold(here.engine, f"search {name}"):
        study = _study(here, name, seed)
        if len(_finished(study)) < trials:
            _run_trials(study, open_dataset(version), kind, trials, seed)
        return _store(here, study, version, kind)


def _store(here: Installation, study: optuna.Study, version: str, kind: str) -> Result:
    settings = asdict(catalog.config(kind, study.best_params))
    row: Result = {
        "dataset_version": version,
        "model": kind,
        "study": study.study_name,
        "config": settings,
        "ndcg_10": study.best_value,
        "trials": len(_finished(study)),
        "run_id": _log(Registry(here.endpoints.mlflow_tracking_uri), study, version, kind, settings),
    }
    entry = insert(search_results).values(row)
    keys = ["dataset_version", "model"]
    with here.engine.begin() as connection:
        connection.execute(entry.on_conflict_do_update(index_elements=keys, set_=row))
    return row


def _log(registry: Registry, study: optuna.Study, version: str, kind: str, settings: dict[str, Any]) -> str:
    """The study as an MLflow run: one step per trial, the best settings as parameters; returns the run's id."""
    done = _finished(study)
    key = f"{study.study_name} {len(done)}"
    stored = registry.finished_run(key)
    if stored:
        return str(stored.info.run_id)
    tags = {"dataset_version": version, "kind": kind, "git_commit": git_commit(), "stage": "search"}
    run_id = registry.start_run(f"search {kind}", key, settings, tags)
    for trial in done:
        registry.log(run_id, {METRIC: float(trial.value or 0.0)}, step=trial.number)
    registry.log(run_id, {f"best_{METRIC}": study.best_value, "trials": len(done)})
    registry.finish_run(run_id)
    return run_id
