from datetime import UTC, datetime, timedelta
from shutil import copytree
from typing import Any

from sqlalchemy import insert

from infra.database.schema.schema import datasets, search_results
from tasks.tuning.best_settings import find_due_searches, find_settings, search_outcomes


def searched(stage: Any, version: str, *, days: float = 1, alpha: float = 1.0) -> None:
    """Write down a search of `als` on a data set."""
    row = {"dataset_version": version, "model": "als", "study": "s", "config": {"alpha": alpha}, "ndcg_10": 0.3}
    at = datetime.now(UTC) - timedelta(days=days)
    with stage.here.engine.begin() as connection:
        connection.execute(insert(search_results).values(**row, trials=9, run_id="r", finished_at=at))


def other(stage: Any, version: str, **rows: int) -> None:
    """Write down a data set like the stage's, but for the name and the numbers of rows."""
    manifest = stage.manifest | {"version": version, "rows": stage.manifest["rows"] | rows}
    early = datetime(2020, 1, 1, tzinfo=UTC)
    with stage.here.engine.begin() as connection:
        connection.execute(insert(datasets).values(version=version, manifest=manifest, created_at=early))


def test_settings_of_another_data_set_serve_when_it_has_the_same_shape(stage: Any) -> None:
    version = stage.manifest["version"]
    other(stage, "small", users=1)
    searched(stage, "small", alpha=2.0)
    assert find_settings(stage.here, version, "als") is None
    other(stage, "alike")
    searched(stage, "alike", days=3, alpha=3.0)
    result = find_settings(stage.here, version, "als")
    assert result is not None
    assert result["config"] == {"alpha": 3.0}
    assert find_settings(stage.here, version, "two_stage") is None
    searched(stage, version, days=50, alpha=4.0)
    own = find_settings(stage.here, version, "als")
    assert own is not None
    assert own["config"] == {"alpha": 4.0}


def test_a_model_that_was_never_searched_or_long_ago_is_due(stage: Any) -> None:
    version = stage.manifest["version"]
    other(stage, "alike")
    datasets = stage.here.settings.var / "lake" / "datasets"
    copytree(datasets / version, datasets / "alike")
    searched(stage, "alike", days=20)
    assert find_due_searches.fn(version, ["als", "two_stage"]) == {"two_stage": "it has no search yet"}
    assert "20 days old" in find_due_searches.fn(version, ["als"], max_age_days=10)["als"]


def test_the_outcome_of_a_search_states_what_training_uses(stage: Any) -> None:
    version = stage.manifest["version"]
    searched(stage, version)
    other(stage, "alike")
    assert search_outcomes("alike", ["als", "two_stage"]) == {
        "als": "It found no settings; the model is trained with those of an earlier search.",
        "two_stage": "It found no settings; the model is trained with its defaults.",
    }
    assert search_outcomes(version, ["als"]) == {"als": "It tried 9 settings, and the best has NDCG@10 0.3000."}
