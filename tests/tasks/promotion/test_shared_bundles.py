"""Machines that share the database, the lake and an object store of bundles, and no folder."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.installation import current
from infra.keys.credentials import FOLDER
from infra.registry.client import Registry
from serving.model.sources import NewestPromotion
from serving.queries.user_recommendations import user_list
from tasks.promotion.apply_decision import promote
from tasks.promotion.champion import require_champion
from tasks.promotion.review_requests import Decision, review_of
from tasks.scoring.roll_back import roll_back_model
from tasks.scoring.score_placement import score_placement
from tests.conftest import _forget

YES = Decision(True, "ann", "fine", "command")


@pytest.fixture
def shared(stage: Any, object_store: str, mlflow_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two champions in the object store, and this process on another machine than the one that promoted them."""
    monkeypatch.chdir(tmp_path)  # where such a store of MLflow keeps artifacts
    monkeypatch.setenv("TAILORBIRD_LAKE", stage.here.settings.lake)
    monkeypatch.setenv("TAILORBIRD_BUNDLES", f"{object_store}/models")
    _forget()
    registry = Registry(mlflow_store)
    for number, kind in ((1, "most_popular"), (2, "own_frequency")):
        assert stage.ask(registry, tmp_path / kind, kind) == number
        promote(current(), registry, review_of(current(), number), YES)
    shutil.copytree(stage.here.settings.var / FOLDER, tmp_path / "other machine" / FOLDER)  # as an operator does
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path / "other machine"))
    _forget()
    return stage.shop


def test_another_machine_scores_and_serves_the_champion(shared: Any, tmp_path: Path) -> None:
    here = current()
    champion = require_champion(here)
    assert champion["bundle"] == f"s3://lakes/models/{champion['digest']}"
    score_placement.fn(k=5)
    somebody = str(shared.demographics["household_id"][0].as_py())
    assert {row["model_version"] for row in user_list(here.engine, somebody)} == {2}
    candidate = NewestPromotion(here.engine).newest()
    assert candidate is not None
    assert candidate.folder == tmp_path / "other machine" / "bundles" / champion["digest"]
    assert candidate.open().manifest.kind == "own_frequency"


def test_another_machine_rolls_the_champion_back(shared: Any) -> None:  # noqa: ARG001
    here = current()
    roll_back_model.fn("ann", "odd lists")
    assert require_champion(here)["kind"] == "most_popular"
    score_placement.fn(k=5)
