"""Training is repeatable, survives kills, and its network runs without PyTorch as with it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.datasets.training_data import TrainingData
from models.recommenders.protocols import Epoch
from models.recommenders.sequence.histories import GAPS, Encoder, Ordered, Padded
from models.recommenders.sequence.model import SequenceModel
from models.recommenders.sequence.network_settings import Config
from models.recommenders.sequence.repeats import DUE, Bonuses, OwnItems, Repeats
from models.recommenders.sequence.training.windows import IGNORED, Batch
from tests.models.trainable import MISSING, NEEDS_TORCH

if not MISSING:
    import torch

    from models.recommenders.sequence.training.learn import AveragedWeights, Loss
    from models.recommenders.sequence.training.network import ItemVectors, Learner, Network, exported

pytestmark = NEEDS_TORCH
SMALL = Config(dimensions=8, blocks=2, length=12, epochs=4, patience=9)
ROWS = [("a", "x", 40, "1"), ("a", "x", 90, "2"), ("a", "y", 98, "3"), ("b", "z", 99, "4")]


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


def own_items(data) -> OwnItems:
    return OwnItems.of(Ordered.of(data), np.full(len(data.users), data.cut), len(data.items))


def test_own_items_are_counted_with_the_ages_of_their_purchases(small) -> None:
    data = small(ROWS)
    own = own_items(data)
    assert list(zip(data.users[own.user], data.items[own.item], strict=True)) == [("a", "x"), ("a", "y"), ("b", "z")]
    assert own.entry.tolist() == [0, 0, 1, 2]
    assert own.age[0] > own.age[1] > own.age[2]
    assert own.due.tolist() == [DUE // 2 - 3, 0, 0]  # 10 days after the last one, and usually 50


def test_a_moment_hides_later_purchases(small) -> None:
    data = small(ROWS)
    early = OwnItems.of(Ordered.of(data), np.full(2, data.cut - 50 * 86_400), 3)
    assert early.item.tolist() == [0]


def test_the_rate_of_an_own_item_is_part_of_the_network_s_and_what_its_purchases_add(small) -> None:
    data = small(ROWS)
    repeats = Repeats(0.5, np.full(GAPS, 2.0), np.full(DUE, 3.0), 2.0)
    bonuses = Bonuses(repeats.bonuses(own_items(data), (2, 3)), repeats)
    users, ones = np.arange(2, dtype=np.int32), np.ones((2, 3), dtype=np.float32)
    expected = 2 * np.log(0.5 * np.exp(0.5) + np.array([12, 6]))
    np.testing.assert_allclose(bonuses.added(users, ones.copy())[0, :2], expected, rtol=1e-6)
    none = Repeats.none()
    untouched = Bonuses(none.bonuses(own_items(data), (2, 3)), none).added(users, ones.copy())
    np.testing.assert_array_equal(untouched, ones)


def test_a_score_that_is_no_number_stays_none() -> None:
    repeats = Repeats(0.5, np.full(GAPS, 2.0), np.full(DUE, 3.0), 2.0)
    scores = np.array([-np.inf, np.nan], dtype=np.float32)
    np.testing.assert_array_equal(repeats.joined(scores, np.ones(2, dtype=np.float32)), scores)


def test_bonuses_are_the_same_for_rows_and_pairs_and_a_longer_catalogue(small) -> None:
    repeats = Repeats(0.5, np.arange(1.0, GAPS + 1), np.ones(DUE), 1.0)
    bonuses = Bonuses(repeats.bonuses(own_items(small(ROWS)), (2, 3)), repeats)
    users = np.array([1, -1, 0], dtype=np.int32)
    rows = bonuses.added(users, np.ones((3, 3), dtype=np.float32))
    assert (rows[1] == 1).all()
    pairs = np.repeat(np.arange(3), 3), np.tile(np.arange(3), 3)
    np.testing.assert_array_equal(bonuses.added_to_pairs(users, *pairs, np.ones(9, dtype=np.float32)), rows.ravel())
    longer = bonuses.renumbered(np.array([0, 2, 3]), 5).added(users, np.ones((3, 5), dtype=np.float32))
    np.testing.assert_array_equal(longer[:, [0, 2, 3]], rows)
    scoped = bonuses.added(users, np.ones((3, 1), dtype=np.float32), np.array([-1, 0, -1]))
    np.testing.assert_array_equal(scoped[:, 0], rows[:, 1])


def test_repeat_purchases_are_learned_from_held_out_purchases() -> None:
    torch = pytest.importorskip("torch")
    from models.recommenders.sequence.training.validation import FACTORS, Baskets, learned_repeats

    users, items = 40, 10
    own = OwnItems(*(np.arange(users), np.zeros(users, int), np.zeros(users, int), np.arange(users)), np.full(users, 5))
    scores, norms = torch.zeros(users, dtype=torch.float64), torch.full((len(FACTORS), users), np.log(items))
    again = Baskets(own, scores, np.arange(users), np.arange(users), scores, norms.double())
    new = Baskets(own, scores, np.arange(users), np.full(users, -1), scores, norms.double())
    likely, unlikely = (learned_repeats(baskets) for baskets in (again, new))
    assert all(np.isfinite(values).all() for values in (*likely.state().values(), *unlikely.state().values()))
    assert likely.least + likely.ages[5] * likely.due[0] > 10
    assert unlikely.least + unlikely.ages[5] * unlikely.due[0] < 0.2
