"""Training is repeatable, survives kills, and its network runs without PyTorch as with it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.datasets.training_data import TrainingData
from models.recommenders.protocols import Epoch
from models.recommenders.sequence.histories import Encoder, Padded
from models.recommenders.sequence.model import SequenceModel
from models.recommenders.sequence.network_settings import Config
from models.recommenders.sequence.training.windows import IGNORED, Batch
from tests.models.trainable import MISSING, NEEDS_TORCH

if not MISSING:
    import torch

    from models.recommenders.sequence.training.learn import AveragedWeights, Loss
    from models.recommenders.sequence.training.network import ItemVectors, Learner, Network, exported

pytestmark = NEEDS_TORCH
SMALL = Config(dimensions=8, blocks=2, length=12, epochs=4, patience=9)


class KilledError(Exception):
    """The process ends here."""


class Kills:
    """A watch whose process is killed after every epoch."""

    def __init__(self, kills: int) -> None:
        self.kills, self.stored, self.epochs = kills, None, []

    def checkpoint(self) -> bytes | None:
        return self.stored

    def ended(self, epoch: Epoch, checkpoint: Callable[[], bytes]) -> None:
        self.stored = checkpoint()
        self.epochs.append(epoch)
        if len(self.epochs) <= self.kills:
            raise KilledError


def contents(model: SequenceModel) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.state().items()}


@pytest.mark.parametrize("network", ["transformer", "gru"])
def test_a_training_that_is_killed_three_times_ends_with_the_same_bytes(network: str, data: TrainingData) -> None:
    config, watch = replace(SMALL, network=network, averaged=True), Kills(3)
    for _ in range(3):
        with pytest.raises(KilledError):
            SequenceModel.fit_by_epochs(data, config, 5, watch)
    resumed = SequenceModel.fit_by_epochs(data, config, 5, watch)
    assert [epoch.number for epoch in watch.epochs] == [1, 2, 3, 4]
    torch.manual_seed(99)  # what others draw has no influence
    assert contents(resumed) == contents(SequenceModel.fit(data, config, 5))
    assert contents(resumed) != contents(SequenceModel.fit(data, config, 6))


def test_training_leaves_the_random_numbers_and_threads_of_others_alone(data: TrainingData) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    SequenceModel.fit(data, replace(SMALL, epochs=1), 5)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_training_ends_when_the_validation_no_longer_improves_and_keeps_the_best(data: TrainingData) -> None:
    watch = Kills(0)
    model = SequenceModel.fit_by_epochs(data, replace(SMALL, epochs=60, patience=2, learning_rate=0.01), 5, watch)
    values = [epoch.ndcg for epoch in watch.epochs]
    assert len(values) < 60
    assert int(np.argmax(values)) == len(values) - 3
    assert values[-3] > values[0]
    np.testing.assert_array_equal(model.curve[:, 1], np.array(values, np.float32))


@pytest.mark.parametrize(("averaged", "expected"), [(True, 1000 * 3 / 4), (False, 1000)])
def test_weights_are_averages_over_the_latest_third_of_the_steps_unless_that_is_turned_off(
    averaged: bool, expected: float
) -> None:
    config = replace(SMALL, averaged=averaged)
    learner = Learner(ItemVectors(3, torch.empty((3, 0), dtype=torch.int64), 0, 8), Network(config))
    average = AveragedWeights(learner, config)
    for step in range(1, 1001):
        for weights in learner.parameters():
            torch.nn.init.constant_(weights, step)
        average.add(learner)
    for weights in average.learner.parameters():
        assert weights.min().item() == pytest.approx(weights.max().item()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("with_kinds", [False, True])
@pytest.mark.parametrize("network", ["transformer", "gru"])
def test_the_exported_network_is_the_trained_one_for_every_length(network: str, with_kinds: bool) -> None:
    config = replace(SMALL, network=network)
    torch.manual_seed(3)
    trained = Network(config, with_kinds).eval()
    for weights in trained.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    content = exported(trained, config)
    assert str(Path(torch.__file__).parent).encode() not in content
    encoder, random = Encoder(np.frombuffer(content, np.uint8)), np.random.default_rng(1)
    vectors = random.normal(size=(30, 8)).astype(np.float32)
    for counts in ([1], [12, 3, 12, 1], [5, 6]):
        items, gaps, kinds = (random.integers(most, size=(len(counts), max(counts))) for most in (30, 16, 3))
        encoded = encoder(vectors, Padded(items, gaps, kinds, np.array(counts)))
        with torch.inference_mode():
            expected = trained(*map(torch.from_numpy, (vectors[items], gaps, kinds))).numpy()
        last = expected[np.arange(len(counts)), np.array(counts) - 1]
        np.testing.assert_allclose(encoded, last, atol=1e-4)


def losses(config: Config, events_per_item: np.ndarray, rounds: int) -> float:
    """Return the mean loss of a random network over several draws of wrong items."""
    torch.manual_seed(2)
    n_items = len(events_per_item)
    vectors = ItemVectors(n_items, torch.empty((n_items, 0), dtype=torch.int64), 0, config.dimensions)
    torch.nn.init.normal_(vectors.own.weight, std=0.1)
    learner, loss = Learner(vectors, Network(config)).eval(), Loss(config, events_per_item)
    zeros = np.zeros((2, 3), np.int64)
    batch = Batch(np.arange(6).reshape(2, 3), zeros, zeros, np.array([[1, 2, 3], [4, 5, IGNORED]]))
    random = np.random.default_rng(4)
    with torch.inference_mode():
        return float(np.mean([loss.of(learner, batch, random).item() for _ in range(rounds)]))


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_a_sampled_softmax_estimates_the_full_one_however_wrong_items_are_drawn(exponent: float) -> None:
    popular = np.arange(1, 41)
    full = losses(replace(SMALL, loss="softmax"), popular, 1)
    sampled = losses(replace(SMALL, loss="sampled", negatives=10, negative_exponent=exponent), popular, 400)
    assert sampled == pytest.approx(full, rel=0.03)


def test_a_calibrated_loss_without_calibration_is_the_usual_one_and_forgives_more_with_it() -> None:
    popular = np.ones(40)
    plain, calibrated = (losses(replace(SMALL, loss="gbce", negatives=10, calibration=t), popular, 50) for t in (0, 1))
    assert calibrated < plain
