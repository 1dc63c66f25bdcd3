"""Trains a network pass by pass, until the NDCG on the validation no longer rises, and exports the best one."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.primitives.csr import places
from models.primitives.time import DAY
from models.recommenders.epochs import Epoch, EpochWatch
from models.recommenders.sequence.config import Config
from models.recommenders.sequence.histories import Ordered
from models.recommenders.sequence.repeats import Repeats
from models.recommenders.sequence.training.average import AveragedWeights
from models.recommenders.sequence.training.checkpoint import Progress
from models.recommenders.sequence.training.graph import exported
from models.recommenders.sequence.training.losses import Loss
from models.recommenders.sequence.training.network import ItemVectors, Learner, Network
from models.recommenders.sequence.training.repeats import learned_repeats
from models.recommenders.sequence.training.validation import Validation
from models.recommenders.sequence.training.windows import IGNORED, Windows

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

_STEEPEST: Final = 5.0
"""The norm to which gradients are cut."""
_ALONE: Final = Lock()
"""Held by the only training of the process: the random numbers of PyTorch belong to all its threads."""


class Learned(NamedTuple):
    """The arrays of a trained model."""

    item_vectors: NDArray[np.float32]
    """[n_items, d]"""
    tag_vectors: NDArray[np.float32]
    """[n_tags, d]"""
    graph: NDArray[np.uint8]
    """The network as the bytes of an ONNX file."""
    repeats: Repeats
    curve: NDArray[np.float32]
    """[epochs, 2] loss and NDCG on the validation."""


def learn(data: "TrainingData", events: Ordered, config: Config, seed: int, watch: EpochWatch | None) -> Learned:
    """Train on the events; the same events, config and seed give the same bytes, also from a checkpoint on."""
    shape = (len(data.users), len(data.items))
    validation, rest = Validation.split(events, shape, data.cut, config, np.random.default_rng(seed))
    with _reproducible(config.threads, seed):
        training = _Training(
            config,
            seed,
            Windows.of(rest, shape[0], config.length, int(config.horizon_days * DAY)),
            validation,
            Loss(config, np.bincount(rest.item[rest.bought], minlength=shape[1])),
            Learner(
                ItemVectors(shape[1], _tag_table(data), data.item_tags.shape[1], config.dimensions),
                Network(config, with_kinds=not events.bought.all()),
            ),
        )
        best, curve = training.run(watch)
        training.learner.load_state_dict(best)
        repeats = learned_repeats(validation.baskets(training.learner, rest)) if config.repeats else Repeats.none()
        return _learned(training.learner.eval(), config, repeats, curve)


@dataclass(frozen=True, eq=False)
class _Training:
    """What an epoch needs. Data order, wrong items and dropout depend on the seed and the number of the epoch only."""

    config: Config
    seed: int
    windows: Windows
    validation: Validation
    loss: Loss
    learner: Learner

    def run(self, watch: EpochWatch | None) -> tuple[dict[str, Tensor], list[tuple[float, float]]]:
        """Return the best averaged weights, and loss and NDCG of each epoch."""
        optimizer = torch.optim.Adam(
            self.learner.parameters(), self.config.learning_rate, betas=(0.9, 0.98), fused=True
        )
        progress = Progress.begun(self.learner, optimizer, self.config, watch.checkpoint() if watch else None)
        while not progress.is_over(self.config) and len(self.windows.first):
            number = len(progress.curve) + 1
            loss = self._epoch(optimizer, number, progress.average)
            ndcg = self.validation.ndcg(progress.average.learner)
            progress.note(loss, ndcg)
            if watch:
                watch.ended(Epoch(number, self.config.epochs, loss, ndcg), progress.checkpoint)
        return progress.best, progress.curve

    def _epoch(self, optimizer: torch.optim.Optimizer, number: int, average: AveragedWeights) -> float:
        random = np.random.default_rng((self.seed, number))
        torch.manual_seed(int(random.integers(2**62)))
        self.learner.train()
        total, seen = 0.0, 0
        for batch in self.windows.batches(self.config, random):
            loss = self.loss.of(self.learner, batch, random)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.learner.parameters(), _STEEPEST)
            optimizer.step()
            average.add(self.learner)
            targets = int((batch.targets != IGNORED).sum())
            total, seen = total + loss.item() * targets, seen + targets
        return total / seen


@contextmanager
def _reproducible(threads: int, seed: int) -> Iterator[None]:
    """Fix threads, algorithms and random numbers in the block; others in the process keep theirs."""
    with _ALONE, torch.random.fork_rng(devices=[]):
        before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        try:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(True)
            torch.manual_seed(seed)
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])


def _tag_table(data: "TrainingData") -> Tensor:
    """Return the positions of each item's tags [n_items, most]; the number of tags fills up shorter rows."""
    tags: Any = data.item_tags
    counts = np.diff(tags.indptr)
    row = np.repeat(np.arange(tags.shape[0]), counts)
    table = np.full((tags.shape[0], int(counts.max(initial=0))), tags.shape[1], dtype=np.int64)
    table[row, places(row)] = tags.indices
    return torch.from_numpy(table)


def _learned(learner: Learner, config: Config, repeats: Repeats, curve: list[tuple[float, float]]) -> Learned:
    with torch.inference_mode():
        vectors = learner.vectors.all().numpy().copy()
        tags = learner.vectors.of_tags.weight[:-1].numpy().copy()
    if not math.isfinite(float(vectors.sum())):
        raise ValueError("it diverged: vectors are no numbers")
    return Learned(
        vectors,
        tags,
        np.frombuffer(exported(learner.network, config), dtype=np.uint8),
        repeats,
        np.array(curve, dtype=np.float32).reshape(-1, 2),
    )
