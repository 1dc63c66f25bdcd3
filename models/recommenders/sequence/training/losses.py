"""The losses: how well a vector ranks the next item above all others, or above a sample of them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.recommenders.sequence.config import Config
from models.recommenders.sequence.training.network import Learner
from models.recommenders.sequence.training.windows import IGNORED, Batch


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
