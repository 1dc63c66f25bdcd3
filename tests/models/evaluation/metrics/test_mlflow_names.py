"""Tests the names of metrics in MLflow."""

from models.evaluation.metrics.mlflow_names import grouped, mlflow_name


def test_every_other_figure_follows_its_group() -> None:
    assert mlflow_name("cold_new_recall_at_10") == "cold_new/recall_at_10"
    assert mlflow_name("newcomer_map_at_10") == "newcomer/map_at_10"
    assert mlflow_name("new_map_at_10") == "new/map_at_10"
    assert mlflow_name("train_ndcg_at_10") == "train/ndcg_at_10"
    assert mlflow_name("pairs_brier") == "pairs/brier"
    assert mlflow_name("gini_at_10") == "test/gini_at_10"
    assert mlflow_name("ndcg_at_10_low") == "intervals/ndcg_at_10_low"
    assert mlflow_name("cold_ndcg_at_10_high") == "intervals/cold_ndcg_at_10_high"


def test_no_two_figures_share_a_name() -> None:
    parts = ("", "cold_", "warm_", "newcomer_", "new_", "cold_new_", "train_", "pairs_")
    names = [f"{part}{name}{end}" for part in parts for name in ("ndcg_at_10", "users") for end in ("", "_low")]
    assert len(grouped(dict.fromkeys(names, 0.0))) == len(names)
