"""Prints the models that a review compares, before any is trained."""

from collections.abc import Sequence

from infra.installation import current
from infra.registry.client import Registry
from models.gate.compared_models import compared_sentences
from tasks.orchestration.run_artifacts import announce
from tasks.promotion.champion import current_champion
from tasks.promotion.recorded_bundles import trained_kinds
from tasks.training.train_model import finished_run, run_key, settings_of


def announce_compared(version: str, kinds: Sequence[str], seed: int = 7) -> tuple[str, list[str]]:
    """Print which models are compared, trained now and left out; returns the text and the kinds to train."""
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    keys = {kind: run_key(version, kind, settings_of(installation, version, kind)[0], seed) for kind in kinds}
    trained = {kind: finished_run(installation, registry, key) is not None for kind, key in keys.items()}
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    compared = {*kinds, *([champion["kind"]] if champion else [])}
    omitted = [kind for kind in trained_kinds(installation.engine, version) if kind not in compared]
    sentences = compared_sentences(version, trained, champion["model_version"] if champion else None, omitted)
    announce(sentences)
    return sentences, [kind for kind, finished in trained.items() if not finished]
