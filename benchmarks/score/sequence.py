"""Measures the sequence model: the speed of training, and of lists from the stored network without PyTorch.

Made-up users walk among 50,000 items. Everything has one thread, and times are those of its processor, which other work
hardly changes.

Run as `python -m benchmarks.score.sequence`; it needs the extra `sequence`.
"""

from collections.abc import Callable
from dataclasses import replace
from statistics import median
from time import process_time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.splits import training_data
from benchmarks.results import publish
from models.datasets.cold_start import InOrder, NewUsers
from models.datasets.training_data import TrainingData
from models.lists.ranked_lists import matrix_of
from models.recommenders.protocols import Epoch
from models.recommenders.sequence.histories import GAPS, KINDS, Encoder, Padded
from models.recommenders.sequence.model import SequenceModel
from models.recommenders.sequence.network_settings import Config

SEED: Final = 7
ITEMS: Final = 50_000
USERS: Final = 10_000
EVENTS: Final = 30
CLICKS: Final = 20
ROUNDS: Final = 200


def walks() -> TrainingData:
    """Return users whose next item is near their last one, a day later."""
    random = np.random.default_rng(SEED)
    steps = random.integers(-5, 6, size=(USERS, EVENTS))
    item = (random.integers(ITEMS, size=(USERS, 1)) + steps.cumsum(axis=1)) % ITEMS
    users, items = (np.array([f"{kind}{at:06}" for at in range(n)]) for kind, n in (("u", USERS), ("i", ITEMS)))
    ages = np.tile(np.arange(EVENTS, 0, -1), USERS)
    return training_data(users, items, np.repeat(np.arange(USERS), EVENTS), item.ravel(), ages)


class Stopwatch:
    """Notes when epochs end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def checkpoint(self) -> bytes | None:
        """Return none, so that training begins with its first epoch."""
        return None

    def ended(self, _epoch: Epoch, _checkpoint: Callable[[], bytes]) -> None:
        """Note the moment."""
        self.ends.append(process_time())


def live_seconds(model: SequenceModel) -> float:
    """Return the median time of the scores of all items for a visitor with clicks."""
    random, spent = np.random.default_rng(SEED), []
    for _ in range(ROUNDS):
        clicks = random.integers(ITEMS, size=CLICKS).astype(np.int32)
        order = InOrder(clicks, np.array([0, CLICKS]))
        new = NewUsers(np.array(["visitor"]), None, matrix_of([clicks.tolist()], ITEMS), order)
        began = process_time()
        model.with_users(new).scores(np.zeros(1, dtype=np.int32))
        spent.append(process_time() - began)
    return median(spent)


def onnx_difference(config: Config) -> float:
    """Return the greatest difference of a coordinate between the stored network and PyTorch's."""
    import torch

    from models.recommenders.sequence.training.network import Network, exported

    torch.manual_seed(SEED)
    network, random = Network(config, with_kinds=True).eval(), np.random.default_rng(SEED)
    vectors: NDArray[np.float32] = random.normal(size=(ITEMS, config.dimensions)).astype(np.float32)
    items, gaps, kinds = (random.integers(most, size=(256, config.length)) for most in (ITEMS, GAPS, len(KINDS)))
    counts = random.integers(1, config.length + 1, size=256)
    with torch.inference_mode():
        encoded = network(*map(torch.from_numpy, (vectors[items], gaps, kinds))).numpy()
    graph = np.frombuffer(exported(network, config), dtype=np.uint8)
    last = encoded[range(256), counts - 1]
    return float(np.abs(Encoder(graph)(vectors, Padded(items, gaps, kinds, counts)) - last).max())


def main() -> None:
    """Measure, and write the figures to var/benchmarks/sequence.json."""
    data, watch = walks(), Stopwatch()
    config = replace(Config(), epochs=2, validation_users=0)
    model = SequenceModel.fit_by_epochs(data, config, SEED, watch)
    live_seconds(model)  # loads the network
    everybody = np.arange(USERS, dtype=np.int32)
    began = process_time()
    model.encoded(everybody)
    spent = process_time() - began
    figures = {
        "train_tokens_per_s": (len(data.user) - USERS) / (watch.ends[1] - watch.ends[0]),
        "live_ms": 1_000 * live_seconds(model),
        "batch_sequences_per_s": USERS / spent,
        "onnx_difference": max(onnx_difference(replace(config, network=name)) for name in ("transformer", "gru")),
    }
    publish("sequence", figures, SEED)


if __name__ == "__main__":
    main()
