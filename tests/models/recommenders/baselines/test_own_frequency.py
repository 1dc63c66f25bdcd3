import numpy as np
import pytest

from models.errors import TailorbirdError
from models.recommenders.baselines.own_frequency import Config, OwnFrequency

ROWS = [
    ("a", "milk", 10, "1"),
    ("a", "milk", 55, "2"),
    ("a", "tea", 99, "3"),
    ("b", "milk", 33.5, "4"),
]


@pytest.fixture
def model(small) -> OwnFrequency:
    return OwnFrequency.fit(small(ROWS), Config(half_life_days=45), seed=0)


@pytest.mark.parametrize(
    ("days", "reason"),
    [
        ((10, 32, 52, 73), "You bought this on 4 days, about every 21 days, last on 15 March"),
        ((97, 98, 99), "You bought this on 3 days, about every day, last on 10 April"),
        ((99.001, 99.002, 99.003), "You bought this on 10 April"),  # three baskets within four minutes
        ((97, 98, 98.5), "You bought this on 2 days, last on 9 April"),
        ((10, 20, 30), "You bought this on 3 days, last on 31 January"),  # 70 days ago, and not 20 at most
        ((60, 70, 80), "You bought this on 3 days, about every 10 days, last on 22 March"),  # 20 days ago
        ((60, 70, 79.9), "You bought this on 3 days, last on 21 March"),
    ],
)
def test_a_habit_has_three_days_and_goes_on(small, days: tuple[float, ...], reason: str) -> None:
    data = small([("a", "milk", day, str(day)) for day in days])
    assert OwnFrequency.fit(data, Config(), 0).reasons(np.zeros(1, np.int32), np.zeros(1, np.int32)) == [reason]


def test_a_model_of_an_earlier_version_that_lacks_an_array_is_refused_with_what_to_do(model: OwnFrequency) -> None:
    old = {name: value for name, value in model.state().items() if name != "days"}
    with pytest.raises(TailorbirdError, match=r"earlier version, without 'days': train and promote it again"):
        OwnFrequency.from_state(Config(), old)


def test_an_item_that_is_not_due_again_steps_back(small) -> None:
    milk = [("a", "milk", day, str(day)) for day in (40, 60, 99)]  # every 29.5 days, and a day ago
    tea = [("a", "tea", day, str(day)) for day in (41, 70)]  # every 29 days, and 30 days ago
    data = small([*milk, *tea, ("a", "wine", 99.5, "6")])  # once: nobody knows when the next is due
    user = np.zeros(1, np.int32)
    at_once, when_due = (OwnFrequency.fit(data, Config(45, exponent), 0).scores(user)[0] for exponent in (0, 0.5))
    np.testing.assert_allclose(when_due / at_once, [(1 / 29.5) ** 0.5, 1, 1], rtol=1e-5)


def test_scores_equal_a_count_by_hand_over_a_whole_shop(data) -> None:
    model = OwnFrequency.fit(data, Config(), seed=0)
    expected = np.full((len(data.users), len(data.items)), -np.inf)
    for user, item, age in zip(data.user, data.item, data.age_days(), strict=True):
        expected[user, item] = np.maximum(expected[user, item], 0) + 2 ** (-age / 90)
    np.testing.assert_allclose(model.scores(np.arange(len(data.users), dtype=np.int32)), expected, rtol=1e-5)
