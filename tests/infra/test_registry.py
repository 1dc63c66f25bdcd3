"""How MLflow's page shows the experiment."""

import json
from pathlib import Path

import pytest

from infra.bundles.manifest import BundleRefusedError
from infra.registry.connection import KIND, experiment_address, missing_tags
from infra.registry.verified_models import verified_folder


def test_an_experiment_is_one_of_machine_learning_with_its_figures_as_columns() -> None:
    tags = missing_tags({}, ["ndcg_at_10"], 5)
    assert tags.pop(KIND) == "custom_model_development"
    [(name, value)] = tags.items()
    view = json.loads(value)
    assert name == f"mlflow.sharedViewState.{experiment_address('http://mlflow.example', '1').rpartition('=')[2]}"
    assert "metrics.`ndcg_at_10`" in json.loads(view["state"])["selectedColumns"]
    assert (view["createdAt"], view["updatedAt"]) == (5, 5)


def test_a_view_that_somebody_changed_stays() -> None:
    known = missing_tags({}, ["ndcg_at_10"], 5)
    assert missing_tags(known, ["recall_at_10"], 6) == {}


def test_a_path_that_is_no_bundle_is_refused_without_advice_about_its_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for place in (Path("/dev/null"), tmp_path, tmp_path / "gone"):
        with pytest.raises(BundleRefusedError) as refusal:
            verified_folder(place)
        assert "chmod" not in str(refusal.value)
