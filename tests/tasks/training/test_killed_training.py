"""A training that is killed between two epochs goes on there."""

from collections.abc import Mapping
from typing import Any

import pytest

from infra.registry.client import Registry
from tasks.datasets.load_dataset import open_dataset
from tasks.training.train_model import _train
from tests.models.trainable import NEEDS_TORCH

SETTINGS = {"dimensions": 8, "blocks": 1, "epochs": 3, "patience": 9}


class KilledError(Exception):
    """The process ends here."""


class DiesAtTheSecondEpoch(Registry):
    """MLflow, in a process that is killed when it logs the second epoch."""

    def log_steps(self, run_id: str, steps: Mapping[int, Mapping[str, float]]) -> None:
        if 2 in steps:
            raise KilledError
        super().log_steps(run_id, steps)


@NEEDS_TORCH
def test_a_killed_training_goes_on_and_logs_its_whole_curve(stage: Any, mlflow_store: str) -> None:
    registry, dataset = Registry(mlflow_store), open_dataset(stage.manifest["version"])
    run_id = registry.start_run("sequence", "key", {}, {})
    with pytest.raises(KilledError):
        _train(DiesAtTheSecondEpoch(mlflow_store), run_id, dataset, "sequence", SETTINGS, 7)
    folder = stage.here.settings.var / "checkpoints"
    assert len(list(folder.glob("*/*"))) == 1
    resumed = registry.start_run("sequence", "key", {}, {})
    _train(registry, resumed, dataset, "sequence", SETTINGS, 7)
    assert list(folder.iterdir()) == []
    curves = {name: steps for name, steps in epochs_of(registry, resumed).items() if name.endswith("_loss")}
    assert [sorted(steps) for steps in curves.values()] == [[1, 2, 3]] * 2


def epochs_of(registry: Registry, run_id: str) -> dict[str, dict[int, float]]:
    """Return the figures of the epochs by name and step."""
    client, names = registry._client, registry._client.get_run(run_id).data.metrics
    return {
        name: {one.step: one.value for one in client.get_metric_history(run_id, name)}
        for name in names
        if name.startswith("epochs/")
    }
