"""The state of a training between two epochs, and its bytes."""

import io
import math
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from models.recommenders.sequence.config import Config
from models.recommenders.sequence.training.average import AveragedWeights
from models.recommenders.sequence.training.network import Learner


@dataclass(eq=False)
class Progress:
    """The epochs so far, and the averaged weights of the best one."""

    learner: Learner
    optimizer: torch.optim.Optimizer
    average: AveragedWeights
    best: dict[str, Tensor]
    best_ndcg: float = -1.0
    best_epoch: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)
    """Loss and NDCG on the validation of each epoch."""

    @classmethod
    def begun(
        cls, learner: Learner, optimizer: torch.optim.Optimizer, config: Config, checkpoint: bytes | None
    ) -> Self:
        """Return the beginning of a training, or the moment of a checkpoint, with the weights of that moment."""
        average = AveragedWeights(learner, config)
        if checkpoint is None:
            return cls(learner, optimizer, average, _copied(learner))
        stored: dict[str, Any] = torch.load(io.BytesIO(checkpoint), weights_only=True)
        learner.load_state_dict(stored["weights"])
        optimizer.load_state_dict(stored["optimizer"])
        average.learner.load_state_dict(stored["average"])
        average.steps = stored["steps"]
        curve = [(float(loss), float(ndcg)) for loss, ndcg in stored["curve"]]
        return cls(learner, optimizer, average, stored["best"], stored["best_ndcg"], stored["best_epoch"], curve)

    def note(self, loss: float, ndcg: float) -> None:
        """Note an epoch; without a validation the latest one is the best."""
        self.curve.append((loss, ndcg))
        if math.isnan(ndcg) or ndcg > self.best_ndcg:
            self.best, self.best_epoch = _copied(self.average.learner), len(self.curve)
            self.best_ndcg = self.best_ndcg if math.isnan(ndcg) else ndcg

    def is_over(self, config: Config) -> bool:
        """Return whether training ends here."""
        return len(self.curve) >= config.epochs or len(self.curve) - self.best_epoch >= config.patience

    def checkpoint(self) -> bytes:
        """Return the bytes from which `begun` goes on."""
        file = io.BytesIO()
        stored = {"weights": self.learner.state_dict(), "optimizer": self.optimizer.state_dict(), "best": self.best}
        stored |= {"average": self.average.learner.state_dict(), "steps": self.average.steps}
        stored |= {"best_ndcg": self.best_ndcg, "best_epoch": self.best_epoch, "curve": self.curve}
        torch.save(stored, file)
        return file.getvalue()


def _copied(learner: Learner) -> dict[str, Tensor]:
    return {name: values.clone() for name, values in learner.state_dict().items()}
