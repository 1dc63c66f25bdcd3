"""A worker with a real study and real processes, and an MLflow that is away now and then."""

import json
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from infra.registry.client import Registry
from models import catalog
from models.datasets.dataset import Dataset
from models.datasets.training_data import T
from models.evaluation.cross_validation import FoldData, artifact_mb, search_folds
from models.tuning.study_config import Budget, SearchPlan, TrialLimits
from tasks.datasets.load_dataset import open_dataset
from tasks.tuning import trial_child, worker
from tasks.tuning.mlflow_record import Outcome, Record
from tasks.tuning.study import Study
from tasks.tuning.worker import (
    LimitExceededError,
    SettingFailedError,
    StopCondition,
    StoppedError,
    TrialProcess,
    Worker,
)


@dataclass(frozen=True)
class Away(Record):
    """Cannot be reached every other time."""

    calls: list[Outcome] = field(default_factory=list)

    def trial(self, outcome: Outcome) -> str:
        self.calls.append(outcome)
        if len(self.calls) % 2:
            raise MlflowException("API request to MLflow failed with exception: nobody listens")
        return f"run {len(self.calls) // 2}"


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_RETRY", 0.01)


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


def test_measurements_are_kept_while_mlflow_is_away(stage: Any) -> None:
    one = hired(stage, SearchPlan(folds=1), Budget(trials=3))
    one.run(1)
    assert [trial.user_attrs["run_id"] for trial in one.study.tried()] == ["run 1", "run 2", "run 3"]


def test_a_search_whose_time_is_over_gives_its_trial_back_even_while_mlflow_is_away(stage: Any) -> None:
    one = hired(stage, SearchPlan(folds=1), Budget(trials=3, minutes=1))
    began = time.monotonic()
    replace(one, stop=StopCondition(0.6)).run(1)
    assert time.monotonic() - began < 30
    assert one.study.tried() == []
    one.run(1)
    assert one.study.tried()[0].params == {"factors": 32}


def test_every_setting_is_measured_for_both_if_coverage_is_asked_for(stage: Any) -> None:
    one = hired(stage, SearchPlan(folds=2, coverage=True), Budget(trials=3))
    one.run(1)
    assert [len(trial.values) for trial in one.study.measured()] == [2, 2, 2]
    accurate = max(trial.values[0] for trial in one.study.measured())
    assert one.study.best().values[0] >= 0.99 * accurate


def test_mlflow_is_not_waited_for_beyond_the_time_of_a_search(stage: Any) -> None:
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


@contextmanager
def process(stage: Any, limits: TrialLimits = TrialLimits(), *, stop: bool = False) -> Iterator[TrialProcess]:  # noqa: B008
    with TrialProcess(stage.manifest["version"], limits, lambda: stop, 1) as made:
        yield made


def trial_settings(kind: str = "als", fold: int = 0, **settings: Any) -> dict[str, Any]:
    return {"kind": kind, "settings": settings, "seed": 7, "folds": 2, "fold": fold, "warm": False}


def expected(dataset: Dataset, fold: int) -> dict[str, float]:
    opened = FoldData.of(dataset, search_folds(dataset, 2)[fold])
    model = catalog.model_type("als").fit(opened.data, catalog.config("als", {"factors": 8}), 7)
    return opened.figures(model) | {"artifact_mb": artifact_mb(model)}


def test_settings_are_measured_as_they_are_here(stage: Any) -> None:
    dataset = open_dataset(stage.manifest["version"])
    with process(stage) as trial:
        for fold in (0, 1):
            figures = trial.measure(trial_settings(fold=fold, factors=8))
            assert figures.items() >= expected(dataset, fold).items()
            assert figures["folds"] == 2
            assert min(figures["fit_seconds"], figures["measure_seconds"]) > 0
            assert figures["memory_mb"] > 50


def test_a_setting_that_raises_or_diverges_is_a_failure_and_the_process_goes_on(stage: Any) -> None:
    failing: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("als", {"colour": "red"}, r"TailorbirdError: als has no setting colour"),
        ("lightfm_hybrid", {"learning_rate": 1e30}, "Not all estimated parameters are finite"),
        ("own_frequency", {"half_life_days": float("nan")}, "it diverged: some scores are NaN"),
    )
    with process(stage) as trial:
        for kind, settings, reason in failing:
            with pytest.raises(SettingFailedError, match=reason):
                trial.measure(trial_settings(kind, **settings))
            assert trial.measure(trial_settings(factors=8))["ndcg_at_10"] > 0


def test_a_setting_that_eats_memory_is_ended_and_the_next_one_is_tried(stage: Any) -> None:
    with process(stage, TrialLimits(memory_mb=900)) as trial:
        with pytest.raises(LimitExceededError, match="MB of memory and may take 900") as error:
            trial.measure(trial_settings(factors=16_000))
        assert error.value.excess["memory_mb"] > 0
        trial.memory_mb = 0
        assert trial.measure(trial_settings(factors=8))["memory_mb"] < 900


def test_a_fit_that_takes_twice_as_long_as_it_may_is_ended(stage: Any) -> None:
    with process(stage, TrialLimits(fit_seconds=0.5)) as trial:
        with pytest.raises(LimitExceededError, match=r"it fitted for 1 s and may for 0\.5") as error:
            trial.measure(trial_settings(iterations=100_000_000))
        assert error.value.excess["fit_seconds"] >= 1


def test_when_the_search_ends_the_process_ends(stage: Any) -> None:
    with process(stage, stop=True) as trial:
        with pytest.raises(StoppedError):
            trial.measure(trial_settings(iterations=100_000_000))
        assert trial._child is None


def test_a_process_that_is_killed_is_a_failure_of_the_present_setting_alone(
    stage: Any,
) -> None:
    with process(stage) as trial:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(trial.measure, trial_settings(iterations=100_000_000))
            while trial.memory_mb < 100:  # it has begun
                time.sleep(0.05)
            assert trial._child is not None
            trial._child.kill()
            with pytest.raises(SettingFailedError, match=r"signal 9 \(out of memory, or killed"):
                waiting.result()
        assert trial.measure(trial_settings(factors=8))["ndcg_at_10"] > 0
        assert trial._child is not None
        trial._child.kill()
        trial._child.wait()
        assert trial.measure(trial_settings(factors=8))["ndcg_at_10"] > 0


def test_folders_that_are_called_as_ours_are_do_not_matter(
    stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    with process(stage) as trial:
        assert trial.measure(trial_settings(factors=8))["ndcg_at_10"] > 0


@dataclass(frozen=True, eq=False)
class RecordingDataset(Dataset):
    """Says when something is worked out that several fits need."""

    answers: StringIO = field(kw_only=True)

    def once(self, key: Hashable, work: Callable[[], T], keep: bool = True) -> T:
        """As ever."""

        def messages() -> T:
            self.answers.write('"work"\n')
            return work()

        return super().once(key, messages, keep)


def test_work_that_all_settings_share_is_done_before_a_fit_is_timed(stage: Any) -> None:
    answers, opened = StringIO(), open_dataset(stage.manifest["version"])
    given = {one.name: getattr(opened, one.name) for one in fields(Dataset) if one.init}
    request = {"kind": "two_stage", "settings": {}, "seed": 7, "folds": 1, "fold": 0, "warm": True}
    trial_child._measure(RecordingDataset(**given, answers=answers), {}, {}, request, answers)
    messages = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert messages[0] == "work"
    assert messages[-2:] == [trial_child.FITTING, trial_child.FITTED]
