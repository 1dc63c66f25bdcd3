"""A worker with a real study and real processes, and an MLflow that is away now and then."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from infra.registry.client import Registry
from models import catalog
from models.tuning.study_config import Budget, SearchPlan
from tasks.tuning import worker
from tasks.tuning.mlflow_record import Outcome, Record
from tasks.tuning.study import Study
from tasks.tuning.worker import StopCondition, Worker


@dataclass(frozen=True)
class Away(Record):
    """Cannot be reached every other time."""

    calls: list[Outcome] = field(default_factory=list)

    def trial(self, outcome: Outcome) -> str:
        self.calls.append(outcome)
        if len(self.calls) % 2:
            raise MlflowException("API request to MLflow failed with exception: nobody listens")
        return f"run {len(self.calls) // 2}"


def hired(stage: Any, plan: SearchPlan, budget: Budget) -> Worker:
    space = {"factors": catalog.model_type("als").space["factors"]}
    study = Study.open(stage.here, "als on v", plan, space, [{"factors": 32}])
    record = Away(Registry("http://127.0.0.1:9"), "parent", {})
    return Worker(
        study,
        record,
        stage.manifest["version"],
        "als",
        budget,
        StopCondition(budget.minutes and 60 * budget.minutes),
        lambda: None,
    )


def test_measurements_are_kept_while_mlflow_is_away(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_RETRY", 0.01)
    one = hired(stage, SearchPlan(folds=1), Budget(trials=3))
    one.run(1)
    assert [trial.user_attrs["run_id"] for trial in one.study.tried()] == ["run 1", "run 2", "run 3"]


def test_a_search_whose_time_is_over_gives_its_trial_back_even_while_mlflow_is_away(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_RETRY", 0.01)
    one = hired(stage, SearchPlan(folds=1), Budget(trials=3, minutes=1))
    began = time.monotonic()
    replace(one, stop=StopCondition(0.6)).run(1)
    assert time.monotonic() - began < 30
    assert one.study.tried() == []
    one.run(1)
    assert one.study.tried()[0].params == {"factors": 32}


def test_every_setting_is_measured_for_both_if_coverage_is_asked_for(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_RETRY", 0.01)
    one = hired(stage, SearchPlan(folds=2, coverage=True), Budget(trials=3))
    one.run(1)
    assert [len(trial.values) for trial in one.study.measured()] == [2, 2, 2]
    accurate = max(trial.values[0] for trial in one.study.measured())
    assert one.study.best().values[0] >= 0.99 * accurate


def test_mlflow_is_not_waited_for_beyond_the_time_of_a_search(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_RETRY", 0.01)
    one = hired(stage, SearchPlan(folds=1), Budget(trials=1, minutes=1))
    stop = StopCondition(3600)

    class Gone(Away):
        def trial(self, outcome: Outcome) -> str:
            self.calls.append(outcome)
            stop.began -= 3600  # the hour is over while MLflow is away
            raise MlflowException("API request to MLflow failed with exception: nobody listens")

    gone = Gone(Registry("http://127.0.0.1:9"), "parent", {})
    replace(one, stop=stop, record=gone).run(1)
    assert [outcome.state for outcome in gone.calls] == ["COMPLETE"]
    one.run(1)
    assert [trial.user_attrs["run_id"] for trial in one.study.tried()] == ["run 1"]
