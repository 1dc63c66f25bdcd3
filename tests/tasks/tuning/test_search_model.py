"""The result of a search of several models if some searches failed."""

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from prefect.states import Completed, Failed, State
from sqlalchemy import insert

from infra.database.schema.schema import datasets, search_results
from models.tuning.study_config import OutOfTimeError, SearchError
from tasks.datasets.load_dataset import open_dataset
from tasks.tuning.best_settings import find_settings, search_outcomes, unsearched
from tasks.tuning.due_searches import find_due_searches
from tasks.tuning.mlflow_record import plots
from tasks.tuning.search_model import Deadline, successful_searches
from tasks.tuning.worker import StopCondition

LATE, FAILED = OutOfTimeError("The search of als found no settings: time"), SearchError("The search of als failed")


def test_a_model_that_ran_out_of_time_is_reported_beside_what_others_found(capsys: pytest.CaptureFixture[str]) -> None:
    states: list[State[Any]] = [Completed(data={"model": "item_knn"}), Failed(data=LATE)]
    assert successful_searches(states) == [{"model": "item_knn"}]
    assert str(LATE) in capsys.readouterr().err


@pytest.mark.parametrize("failures", [[LATE], [LATE, LATE], [FAILED]])
def test_a_search_that_found_nothing_or_failed_raises(failures: list[SearchError]) -> None:
    successful: list[State[Any]] = [] if LATE in failures else [Completed(data={"model": "item_knn"})]
    with pytest.raises(SearchError, match=str(failures[0])):
        successful_searches([*successful, *(Failed(data=failure) for failure in failures)])


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_models_share_what_is_left_and_leave_what_they_do_not_use() -> None:
    clock = Clock()
    deadline = Deadline(180.0, clock)
    assert deadline.share(3) == pytest.approx(1.0)
    clock.now += 20
    assert deadline.share(2) == pytest.approx(80 / 60)
    clock.now += 130
    assert deadline.share(1) == pytest.approx(0.5)
    clock.now += 100
    assert (deadline.share(1), deadline.over()) == (pytest.approx(1 / 60), True)


@pytest.mark.parametrize(
    ("opening", "storing", "trials"),
    [(4.0, 10.0, 46.0), (4.0, 15.0, 41.0), (12.0, 10.0, 36.0), (4.0, 90.0, 36.0), (59.0, 10.0, 0.0)],
    ids=["as usual", "as measured", "a slow machine", "never all of it", "nothing left"],
)
def test_time_to_store_is_kept_from_what_was_measured(opening: float, storing: float, trials: float) -> None:
    clock = Clock()
    deadline = Deadline(60.0, clock, storing)
    clock.now += opening
    assert deadline.for_trials(opening) == pytest.approx(trials)


def test_without_minutes_nothing_ends() -> None:
    clock = Clock()
    deadline = Deadline(None, clock)
    clock.now += 1e6
    assert (deadline.share(3), deadline.for_trials(5), deadline.over()) == (None, None, False)


def test_a_model_that_found_nothing_may_take_the_time_of_others() -> None:
    deadline = Deadline(60.0, Clock())
    assert deadline.for_trials(4.0, longer=120.0) == pytest.approx(170.0)
    for measured, over in ((False, False), (True, True)):
        end = StopCondition(60.0, 170.0, measured)
        end.began -= 100
        assert end.reached() is over
        assert end.share() == pytest.approx(1.0 if measured else 100 / 170, abs=0.01)  # the time that it may take
    assert StopCondition(0.0, None).reached()
    assert not StopCondition(None).reached()


@pytest.mark.parametrize("objectives", [["ndcg"], ["ndcg", "coverage"]])
def test_few_trials_are_drawn_without_a_warning_of_the_library(tmp_path: Path, objectives: list[str]) -> None:
    study = optuna.create_study(directions=["maximize"] * len(objectives))
    space = {"factor": FloatDistribution(0, 1)}
    for value in (0.2, 0.7):
        trial = create_trial(params={"factor": value}, distributions=space, values=[value] * len(objectives))
        study.add_trial(trial)

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        skipped = plots(study, objectives, tmp_path, lambda: False)

    assert skipped == []
    assert (tmp_path / "importance.png").exists()
    assert not [one for one in shown if "optuna" in one.filename or "Importances" in str(one.message)]


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


def test_defaults_are_named_with_the_command_that_tries_others_until_a_search_has(stage: Any) -> None:
    version, interactions = stage.manifest["version"], open_dataset(stage.manifest["version"]).interactions
    pairs = list(zip(interactions["user_key"].to_pylist(), interactions["item_id"].to_pylist(), strict=True))
    share = 1 - len(set(pairs)) / len(pairs)
    assert stage.manifest["repeats"] == pytest.approx(share)
    sentence = unsearched(version, ["own_frequency", "als"])
    assert f"for a shop with {share:.0%} repeat purchases: own_frequency, als." in sentence
    assert sentence.endswith("tailorbird search --model own_frequency --model als")
    searched(stage, version)
    assert unsearched(version, ["als"]) == "All settings come from searches."


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
