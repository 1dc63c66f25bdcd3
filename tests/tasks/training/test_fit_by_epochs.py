"""Epochs are stored, shown and logged, whatever MLflow does meanwhile."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from infra.registry.client import Registry
from models.datasets.dataset import Dataset
from models.recommenders.protocols import Epoch
from models.recommenders.sequence.model import SequenceModel
from models.recommenders.sequence.network_settings import Config
from tasks.datasets.load_dataset import open_dataset
from tasks.training.fit_by_epochs import Checkpoints, EpochLog, fit_by_epochs
from tasks.training.train_model import _train
from tests.models.conftest import CUT, CUTS, make_shop
from tests.models.trainable import NEEDS_TORCH
from tests.tasks.stopped_steps import KilledError

OUTAGE = OperationalError("", {}, Exception("connection refused"))
SETTINGS = {"dimensions": 8, "blocks": 1, "epochs": 3, "patience": 9}


@dataclass
class Run:
    """A run in MLflow, which may be down."""

    steps: dict[int, dict[str, float]] = field(default_factory=dict)
    fault: Exception | None = None

    def log_steps(self, _run_id: str, steps: Mapping[int, Mapping[str, float]]) -> None:
        if self.fault:
            raise self.fault
        self.steps |= {at: dict(figures) for at, figures in steps.items()}


def log_of(run: Run, folder: Path, notes: list[str]) -> EpochLog:
    def advance(_steps: int = 1, note: str = "") -> None:
        notes.append(note)

    registry: Any = run
    return EpochLog("fit", Checkpoints(folder, "key"), registry, "r1", advance)


def test_an_epoch_is_stored_shown_and_logged(tmp_path: Path) -> None:
    run, notes = Run(), list[str]()
    log = log_of(run, tmp_path, notes)
    log.ended(Epoch(3, 10, 5.5, 0.25), lambda: b"state")
    assert log.checkpoint() == b"state"
    assert notes[0].startswith("epoch 3 of at most 10, loss 5.5000, NDCG@10 0.2500, at most 0 min left")
    assert run.steps == {3: {"epochs/fit_loss": 5.5, "epochs/fit_ndcg_at_10": 0.25}}


def test_the_epochs_before_a_kill_are_logged_to_the_run_that_went_on(tmp_path: Path) -> None:
    run = Run()
    log = log_of(run, tmp_path, [])
    log.ended(Epoch(2, 10, 4.0, 0.2), lambda: b"")
    log.complete([(5.0, 0.1), (4.0, 0.2)])
    assert run.steps[1] == {"epochs/fit_loss": 5.0, "epochs/fit_ndcg_at_10": 0.1}
    assert sorted(log.figures) == [1, 2]


def test_an_outage_of_mlflow_ends_no_training_and_a_defect_does(tmp_path: Path) -> None:
    run = Run(fault=OUTAGE)
    log = log_of(run, tmp_path, [])
    log.ended(Epoch(1, 10, 5.0, 0.1), lambda: b"")
    run.fault = None
    log.ended(Epoch(2, 10, 4.0, 0.2), lambda: b"")
    assert sorted(run.steps) == [1, 2]
    run.fault = ValueError("a defect")
    with pytest.raises(ValueError, match="a defect"):
        log.ended(Epoch(3, 10, 4.0, 0.2), lambda: b"")


@NEEDS_TORCH
def test_a_model_that_learns_by_epochs_is_the_one_of_a_plain_fit(tmp_path: Path) -> None:
    data = Dataset(CUTS, *make_shop(seed=1, n_users=20)).training_data(CUT)
    config, run = Config(dimensions=8, blocks=1, epochs=2), Run()
    registry: Any = run
    fitted = fit_by_epochs(SequenceModel, data, config, 7, Checkpoints(tmp_path, "key"), registry, "r1")
    plain = SequenceModel.fit(data, config, 7)
    assert (fitted.scores(data.user[:3]) == plain.scores(data.user[:3])).all()
    assert sorted(run.steps) == [1, 2]


def test_the_last_whole_checkpoint_of_each_fit_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    assert checkpoints.read("one") is None
    for fit, content in (("one", b"1"), ("two", b"2"), ("one", b"3")):
        checkpoints.write(fit, content)
    again = Checkpoints(tmp_path, "key")
    assert (again.read("one"), again.read("two")) == (b"3", b"2")
    assert Checkpoints(tmp_path, "other").read("one") is None
    folder = tmp_path / "checkpoints" / "key"
    (folder / ".one.77").write_bytes(b"wh")  # as a kill leaves it
    assert checkpoints.read("one") == b"3"
    assert [path.stat().st_mode & 0o077 for path in (folder, folder / "one")] == [0, 0]


def test_they_go_when_the_training_ends(tmp_path: Path) -> None:
    for key in ("done", "running"):
        Checkpoints(tmp_path, key).write("one", b"1")
    Checkpoints(tmp_path, "done").delete()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["running"]


def test_only_the_latest_of_trainings_that_nobody_went_on_with_are_kept(tmp_path: Path) -> None:
    for at in range(6):
        Checkpoints(tmp_path, f"key{at}").write("one", b"1")
        os.utime(tmp_path / "checkpoints" / f"key{at}", (at, at))
    assert Checkpoints(tmp_path, "key0").read("one") is None
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["key2", "key3", "key4", "key5"]


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
