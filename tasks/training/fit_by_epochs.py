"""Fits a model; if it learns by epochs, follows them in the terminal, in Prefect and in MLflow, with checkpoints."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

from infra import outages
from infra.registry.client import Registry
from models.datasets.training_data import TrainingData
from models.recommenders.protocols import Epoch, LearnsByEpochs, Recommender
from tasks.orchestration.progress import Advance, progress
from tasks.orchestration.run_artifacts import show

GROUP: Final = "epochs"
"""The group of the figures of epochs in MLflow."""
_FOLDER: Final = "checkpoints"
_KEPT: Final = 4
"""Trainings whose checkpoints are kept although nobody went on with them; older ones are deleted."""


class Checkpoints:
    """The checkpoints of one training, one for each of its fits."""

    def __init__(self, var: Path, run_key: str) -> None:
        """Use a folder of the installation; the oldest of other trainings are deleted."""
        self._folder = var / _FOLDER / run_key
        others = [folder for folder in self._folder.parent.glob("*") if folder != self._folder]
        with suppress(OSError):  # another training ends at the same time
            for given_up in sorted(others, key=lambda folder: folder.stat().st_mtime)[:-_KEPT]:
                shutil.rmtree(given_up)

    def read(self, fit: str) -> bytes | None:
        """Return the last checkpoint of a fit; None without one."""
        try:
            return (self._folder / fit).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, fit: str, content: bytes) -> None:
        """Replace the checkpoint of a fit in one step."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f".{fit}.{os.getpid()}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._folder / fit)

    def delete(self) -> None:
        """Delete all of them: the training has ended."""
        shutil.rmtree(self._folder, ignore_errors=True)


def fit_by_epochs(
    model: type[Recommender],
    data: TrainingData,
    config: Any,
    seed: int,
    checkpoints: Checkpoints,
    registry: Registry,
    run_id: str,
) -> Recommender:
    """Return the fitted model. After a kill, the same call goes on after the last finished epoch."""
    if not isinstance(model, LearnsByEpochs):
        return model.fit(data, config, seed)
    fit = f"{datetime.fromtimestamp(data.cut, UTC):%Y-%m-%d}-{len(data.users)}-users"
    with progress(f"epochs of {model.kind}", config.epochs) as advance:
        log = EpochLog(fit, checkpoints, registry, run_id, advance)
        fitted: Any = model.fit_by_epochs(data, config, seed, log)
    log.complete([(float(loss), float(ndcg)) for loss, ndcg in fitted.curve])
    rows = [{"epoch": at, **figures} for at, figures in sorted(log.figures.items())]
    show(f"epochs-{model.kind}", f"Epochs of {model.kind} on the data before {fit}", rows)
    return fitted


class EpochLog:
    """Follows the epochs of one fit."""

    def __init__(self, fit: str, checkpoints: Checkpoints, registry: Registry, run_id: str, advance: Advance) -> None:
        """Keep checkpoints under the name of the fit, and log to a run in MLflow."""
        self._fit, self._checkpoints, self._advance = fit, checkpoints, advance
        self._registry, self._run_id = registry, run_id
        self._began, self._seen = monotonic(), 0
        self._unlogged: dict[int, dict[str, float]] = {}
        self.figures: dict[int, dict[str, float]] = {}
        """Loss and NDCG by epoch."""

    def checkpoint(self) -> bytes | None:
        """Return the last checkpoint of this fit."""
        return self._checkpoints.read(self._fit)

    def ended(self, epoch: Epoch, checkpoint: Callable[[], bytes]) -> None:
        """Store the checkpoint, then show and log the epoch."""
        self._checkpoints.write(self._fit, checkpoint())
        self._seen += 1
        left = (monotonic() - self._began) / self._seen * (epoch.most - epoch.number)
        self._advance(
            note=f"epoch {epoch.number} of at most {epoch.most}, loss {epoch.loss:.4f}, NDCG@10 {epoch.ndcg:.4f}, "
            f"at most {left / 60:.0f} min left"
        )
        self._note(epoch.number, epoch.loss, epoch.ndcg)
        self._log()

    def complete(self, curve: list[tuple[float, float]]) -> None:
        """Log the epochs before the checkpoint that this fit began from."""
        for at, (loss, ndcg) in enumerate(curve, start=1):
            if at not in self.figures:
                self._note(at, loss, ndcg)
        self._log()

    def _note(self, number: int, loss: float, ndcg: float) -> None:
        self.figures[number] = {"loss": loss, "validation NDCG@10": ndcg}
        self._unlogged[number] = {f"{GROUP}/{self._fit}_loss": loss, f"{GROUP}/{self._fit}_ndcg_at_10": ndcg}

    def _log(self) -> None:
        """Log to MLflow; an outage does not end hours of training, and the next epoch logs what is missing."""
        try:
            self._registry.log_steps(self._run_id, self._unlogged)
        except Exception as error:
            if outages.explain(error) is None:
                raise
        else:
            self._unlogged.clear()
