"""Trains a network pass by pass, until the NDCG on the validation no longer rises, and exports the best one.

Its state between two epochs is a checkpoint, from which training goes on with the same bytes.
"""

import copy
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.primitives.state import places
from models.primitives.time import DAY
from models.recommenders.protocols import Epoch, EpochWatch
from models.recommenders.sequence.histories import Ordered
from models.recommenders.sequence.network_settings import Config
from models.recommenders.sequence.repeats import Repeats
from models.recommenders.sequence.training.network import ItemVectors, Learner, Network, exported
from models.recommenders.sequence.training.validation import Validation, learned_repeats
from models.recommenders.sequence.training.windows import IGNORED, Batch, Windows

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

_STEEPEST: Final = 5.0
"""The norm to which gradients are cut."""
_ALONE: Final = Lock()
"""Held by the only training of the process: the random numbers of PyTorch belong to all its threads."""
_POWER: Final = 3.0
"""The larger, the fewer of the latest steps count: here about the last third of all so far."""


class AveragedWeights:
    """A moving average whose reach grows with the number of steps (Karras et al. 2024)."""

    def __init__(self, learner: Learner, config: Config) -> None:
        """Begin before the first step; without averaging, `learner` itself is the average."""
        self.learner, self.steps = copy.deepcopy(learner) if config.averaged else learner, 0
        self._averages = list(self.learner.parameters())

    def add(self, learner: Learner) -> None:
        """Count the weights after one more step."""
        if learner is self.learner:
            return
        self.steps += 1
        share = 1 - (1 - 1 / self.steps) ** _POWER
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, list(learner.parameters()), share)


def chosen_loss(config: Config, n_items: int) -> str:
    """Return the loss that `auto` stands for."""
    if config.loss != "auto":
        return config.loss
    return "softmax" if n_items <= config.full_items else "sampled"


class Loss:
    """The mean loss of a batch. Wrong items are drawn once per batch."""

    def __init__(self, config: Config, events_per_item: NDArray[np.int64]) -> None:
        """Prepare the draw of wrong items."""
        n_items = len(events_per_item)
        self._loss = chosen_loss(config, n_items)
        self._drawn = min(config.negatives, max(1, n_items - 1))
        power = config.negative_exponent if self._loss == "sampled" else 0.0
        weight = np.maximum(events_per_item, 1).astype(np.float64) ** power
        share = weight / weight.sum()
        self._until = np.cumsum(share)
        self._expected = torch.from_numpy(np.log(self._drawn * share).astype(np.float32))
        """The logarithm of how often each item is drawn per batch."""
        rate = self._drawn / max(1, n_items - 1)
        self._beta = rate * (config.calibration * (1 - 1 / rate) + 1 / rate)

    def of(self, learner: Learner, batch: Batch, random: np.random.Generator) -> Tensor:
        """Return the mean over the targets of a batch."""
        items, gaps, kinds, targets = (torch.from_numpy(part) for part in batch)
        inside = targets != IGNORED
        right = targets[inside]
        if self._loss == "softmax":
            every = learner.vectors.all()
            encoded = learner.network(functional.embedding(items, every), gaps, kinds)[inside]
            return functional.cross_entropy(encoded @ every.T, right)
        drawn = self._draw(random)
        # One look-up for all: each would have a gradient of the size of the whole table.
        vectors = learner.vectors(torch.cat([items.ravel(), right, drawn]))
        events, positive, negative = vectors.split([items.numel(), len(right), len(drawn)])
        encoded = learner.network(events.view(*items.shape, -1), gaps, kinds)[inside]
        wrong = (encoded @ negative.T).masked_fill(drawn == right[:, None], -torch.inf)
        return self._sampled((encoded * positive).sum(dim=-1, keepdim=True), wrong, drawn)

    def _sampled(self, right: Tensor, wrong: Tensor, drawn: Tensor) -> Tensor:
        """Return the mean from the scores of the right items [n, 1] and of the drawn ones [n, drawn]."""
        if self._loss == "gbce":
            # gSASRec (Petrov and Macdonald 2023): the probability of the right item to the power beta.
            positive = self._beta * functional.softplus(-right.squeeze(-1))
            return (positive + functional.softplus(wrong).sum(dim=-1)).mean()
        # An item that is drawn often stands for fewer others (logQ correction, Bengio and Senécal 2008).
        logits = torch.cat([right, wrong - self._expected[drawn]], dim=-1)
        return functional.cross_entropy(logits, torch.zeros(len(right), dtype=torch.int64))

    def _draw(self, random: np.random.Generator) -> Tensor:
        """Return [drawn] wrong items; one may occur twice."""
        places = np.searchsorted(self._until, random.random(self._drawn), side="right")
        return torch.from_numpy(np.minimum(places, len(self._until) - 1))


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
