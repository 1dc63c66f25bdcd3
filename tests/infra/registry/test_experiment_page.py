"""How MLflow's page shows the experiment."""

import json

from infra.registry.connection import KIND, experiment_address, missing_tags


def test_an_experiment_is_one_of_machine_learning_with_its_figures_as_columns() -> None:
    tags = missing_tags({}, ["ndcg_at_10"], 5)
    assert tags.pop(KIND) == "custom_model_development"
    [view] = [json.loads(value) for value in tags.values()]
    assert "metrics.`ndcg_at_10`" in json.loads(view["state"])["selectedColumns"]
    assert (view["createdAt"], view["updatedAt"]) == (5, 5)


def test_a_view_that_somebody_changed_stays() -> None:
    known = missing_tags({}, ["ndcg_at_10"], 5)
    assert missing_tags(known, ["recall_at_10"], 6) == {}


def test_the_address_opens_that_view() -> None:
    key = experiment_address("http://mlflow.example", "1").rpartition("=")[2]
    assert f"mlflow.sharedViewState.{key}" in missing_tags({}, [], 5)
