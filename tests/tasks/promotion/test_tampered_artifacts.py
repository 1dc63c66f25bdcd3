"""Files that are changed between training and a decision, or between a decision and the next lists."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from infra.bundles.manifest import MANIFEST, BundleRefusedError
from infra.database.schema.schema import promotions, reviews
from infra.private_files.folders import sha256
from infra.registry.client import MODEL_PATH, Registry
from infra.registry.connection import ArtifactsGoneError
from serving.pyfunc import _load_pyfunc
from serving.queries.explain import explain
from serving.queries.status import status
from tasks.promotion.apply_decision import apply_decision, promote
from tasks.promotion.review_requests import Decision, review_of
from tasks.scoring.score_placement import score_placement
from tests.tasks.reconciler.altered_versions import Bomb

YES = Decision(True, "ann", "fine", "command")


def tamper(folder: Path, name: str, sentinel: Path) -> None:
    """Put code in place of a file, or beside them, and a manifest that vouches for it."""
    (folder / name).write_bytes(pickle.dumps(Bomb(sentinel)))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][name] = sha256(folder / name)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))


def state(stage: Any) -> list[Any]:
    with stage.here.engine.connect() as connection:
        held = connection.execute(select(promotions).order_by(promotions.c.promotion_id)).mappings().all()
        open_reviews = connection.execute(select(reviews.c.model_version, reviews.c.decision)).all()
    return [list(map(dict, held)), list(map(tuple, open_reviews)), sorted(stage.here.bundles.iterdir())]


@pytest.fixture
def artifact(stage: Any, mlflow_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Version 1 waits for a decision in a registry that is MLflow's store itself, and a champion answers meanwhile."""
    monkeypatch.chdir(tmp_path)  # where such a store keeps artifacts
    stage.promote("most_popular", version=7)
    registry = Registry(mlflow_store)
    run_id = registry.version(stage.ask(registry, tmp_path)).run_id
    return Path(urlsplit(registry.run(str(run_id)).artifact_uri).path) / MODEL_PATH


def test_an_artifact_that_was_changed_is_not_promoted_and_the_champion_stays(
    stage: Any, artifact: Path, mlflow_store: str, tmp_path: Path
) -> None:
    registry = Registry(mlflow_store)
    before, sound = state(stage), tmp_path / "sound"
    shutil.copytree(artifact, sound)
    for name in ("arrays.npz", "config.json", "fallback.npz", "model.pkl"):
        tamper(artifact, name, tmp_path / "sentinel")
        with pytest.raises(BundleRefusedError, match=r"signed by none of the keys .* Restore it or create it again"):
            apply_decision(stage.here, registry, 1, YES)
        assert state(stage) == before
        shutil.rmtree(artifact)
        shutil.copytree(sound, artifact)
    (artifact / "model.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "sentinel")))
    with pytest.raises(BundleRefusedError, match=r"does not list: model\.pkl"):
        apply_decision(stage.here, registry, 1, YES)
    assert state(stage) == before
    assert not (tmp_path / "sentinel").exists()
    shutil.rmtree(artifact)
    shutil.copytree(sound, artifact)
    promote(stage.here, registry, review_of(stage.here, 1), YES)
    assert review_of(stage.here, 1)["decision"] == "approved"
    assert status(stage.here.engine)["champion"]["version"] == 1


@pytest.mark.parametrize("name", ["arrays.npz", "config.json", "fallback.npz", "model.pkl"])
def test_a_champion_that_was_changed_answers_nobody_and_the_lists_before_stay(
    stage: Any, name: str, tmp_path: Path
) -> None:
    bundle = stage.promote()
    score_placement.fn(k=5)
    before, champion = status(stage.here.engine), state(stage)
    tamper(bundle, name, tmp_path / "sentinel")
    somebody = str(stage.shop.demographics["household_id"][0].as_py())
    ways: list[Callable[[], Any]] = [
        lambda: score_placement.fn(k=6),
        lambda: explain(stage.here.engine, somebody, "500001"),
        lambda: _load_pyfunc(str(bundle)),
    ]
    for way in ways:
        with pytest.raises(BundleRefusedError, match="signed by none of the keys"):
            way()
    assert (status(stage.here.engine), state(stage)) == (before, champion)
    assert not (tmp_path / "sentinel").exists()


def test_artifacts_that_are_gone_are_named_with_what_to_do(mlflow_store: str, tmp_path: Path) -> None:
    registry = Registry(mlflow_store)
    run_id = registry.start_run("own_frequency", "a key", {}, {"kind": "own_frequency"})
    with pytest.raises(ArtifactsGoneError, match=rf"has no model of run {run_id} any more.* `tailorbird review`"):
        registry.download(run_id, MODEL_PATH, tmp_path)
