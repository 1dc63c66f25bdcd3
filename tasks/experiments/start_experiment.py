"""Starts experiments once the lists of all variants are published, and stops them."""

from typing import Final, cast

from prefect import task

from infra.configuration.placements import configured_experiment
from infra.database.engine import database_now
from infra.database.experiment_rows import (
    StartedExperiment,
    add_experiment,
    all_experiments,
    begin_experiment,
    experiment_named,
    stop_experiment,
)
from infra.database.schema.promotion_rows import Promotion
from infra.installation import Installation, current
from infra.locks import locked
from infra.registry.client import Registry
from models.errors import reason_fault
from models.experiments.definition import Experiment, ExperimentError, Variant
from models.lists.rules.placement_config import BEST_SELLERS
from models.primitives.json_types import JsonObject
from tasks.promotion.apply_decision import store_reviewed_bundle
from tasks.promotion.champion import CHALLENGER, promotion_of, require_champion
from tasks.promotion.review_requests import open_reviews, review_of
from tasks.scoring import batch_state

_LOCK: Final = "the experiments"


@task(description="Record an experiment of the file; nobody is assigned to it yet.")
def prepare_experiment(name: str, actor: str) -> list[str]:
    """Record an experiment with the models of its variants; return the names under which their lists are published.

    An experiment whose start was interrupted goes on as it was recorded. Raises ExperimentError.
    """
    installation = current()
    with locked(installation.engine, _LOCK, wait=True):
        known = _started(installation, name)
        if known is None:
            known = _recorded(installation, configured_experiment(installation.settings, name), actor)
        return sorted(known.served)


def _started(installation: Installation, name: str) -> StartedExperiment | None:
    """Return an experiment whose start was interrupted. Raises ExperimentError for one that began."""
    with installation.engine.connect() as connection:
        now = database_now(connection)
        for experiment in all_experiments(connection):
            state = experiment.state(now)
            if experiment.name == name and state == "starting":
                return experiment
            if experiment.name == name:
                raise ExperimentError(
                    f"The experiment {name!r} is {state}; an experiment starts once. `tailorbird experiments read "
                    f"{name}` shows it. Give a new one another name."
                )
    return None


def _recorded(installation: Installation, experiment: Experiment, actor: str) -> StartedExperiment:
    require_champion(installation)
    with installation.engine.connect() as connection:
        if experiment.form.ends <= database_now(connection).date():
            raise ExperimentError(f"The experiment {experiment.name!r} ends on {experiment.form.ends}, which is over.")
    fixed = _with_versions(installation, experiment)
    models = {str(model): _stored(installation, int(model)) for model in sorted(fixed.models - set(BEST_SELLERS))}
    with installation.engine.begin() as connection:
        return add_experiment(connection, fixed, actor, models)


def _with_versions(installation: Installation, experiment: Experiment) -> Experiment:
    """Return the experiment with the present challenger's version in place of its alias."""
    if CHALLENGER not in experiment.models:
        return experiment
    with installation.engine.connect() as connection:
        version = next((review["model_version"] for review in open_reviews(connection) if review["passed"]), None)
    if version is None:
        raise ExperimentError("No challenger waits for a decision. Run `tailorbird review`, or name a version.")

    def fixed(variant: Variant) -> Variant:
        own = {
            name: placement.model_copy(update={"model": version}) if placement.model == CHALLENGER else placement
            for name, placement in variant.placements.items()
        }
        return variant._replace(placements=own)

    return experiment._replace(variants=tuple(map(fixed, experiment.variants)))


def _stored(installation: Installation, version: int) -> Promotion:
    """Return a version like a promotion, with its verified bundle in the store. Raises the errors of a promotion."""
    with installation.engine.connect() as connection:
        promoted = promotion_of(connection, version)
    names = ("model_version", "dataset_version", "digest", "run_id")
    if promoted is not None:
        return cast(Promotion, {name: promoted[name] for name in (*names, "kind", "bundle")})  # type: ignore[literal-required]
    review, registry = review_of(installation, version), Registry(installation.endpoints.mlflow_tracking_uri)
    bundle, manifest = store_reviewed_bundle(installation, registry, review)
    stored = {name: review[name] for name in names}  # type: ignore[literal-required]
    return cast(Promotion, stored | {"kind": manifest.kind, "bundle": str(bundle)})


@task(description="Assign people from now on.")
def begin(name: str) -> JsonObject:
    """Let an experiment whose lists are published assign people; return it."""
    installation = current()
    with installation.engine.begin() as connection:
        experiment = experiment_named(connection, name)
        begin_experiment(connection, experiment.experiment_id)
        return experiment_named(connection, name).row(database_now(connection))


@task(description="End an experiment: from the next answer on, everybody gets the placement's own lists.")
def stop(name: str, actor: str, reason: str) -> JsonObject:
    """Stop an experiment and drop the lists of its variants; return it. Stopping twice changes nothing."""
    installation = current()
    if fault := reason_fault(reason, "the experiment stops", "the test won"):
        raise ExperimentError(fault)
    with installation.engine.begin() as connection:
        experiment = experiment_named(connection, name)
        stop_experiment(connection, experiment, actor, reason)
    withdraw_ended(installation)
    with installation.engine.connect() as connection:
        return experiment_named(connection, name).row(database_now(connection))


def withdraw_ended(installation: Installation) -> None:
    """Drop the lists of variants whose experiments have ended."""
    with installation.engine.connect() as connection:
        now = database_now(connection)
        ended = [one for one in all_experiments(connection) if one.state(now) in ("stopped", "ended")]
    published = set(batch_state.placements_with_lists(installation.engine))
    for name in sorted(published & {name for experiment in ended for name in experiment.served}):
        batch_state.withdraw(installation.engine, name)
