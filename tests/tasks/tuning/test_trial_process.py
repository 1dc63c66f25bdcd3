"""Settings tried in a real process of their own, with settings that raise, eat memory, and take for ever."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models import catalog
from models.datasets.dataset import Dataset
from models.tuning.folds import FoldData, artifact_mb, search_folds
from models.tuning.study_config import TrialLimits
from tasks.datasets.load_dataset import open_dataset
from tasks.tuning.trial_process import LimitExceededError, SettingFailedError, StoppedError, TrialProcess


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


def test_a_process_that_is_killed_is_a_failure_and_the_next_setting_gets_another(stage: Any) -> None:
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


def test_a_process_that_is_killed_between_two_settings_is_not_the_next_ones_fault(stage: Any) -> None:
    with process(stage) as trial:
        trial.measure(trial_settings(factors=8))
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
