"""The validation holds out the last basket, or all purchases of the last days."""

import numpy as np

from models.primitives.time import DAY
from models.recommenders.sequence.histories import Ordered, gap_class
from models.recommenders.sequence.network_settings import Config
from tests.models.trainable import MISSING, NEEDS_TORCH

if not MISSING:
    from models.recommenders.sequence.training.validation import Validation

pytestmark = NEEDS_TORCH


def test_with_a_horizon_all_purchases_since_the_moment_are_held_out(small) -> None:
    days, users = (20, 50, 80, 90, 95), 100
    data = small([(f"u{user:03}", f"{day}", day, str(day)) for user in range(users) for day in days])
    events, config = Ordered.of(data), Config(horizon_days=28.0, validation_users=1)
    validation, rest = Validation.split(events, (users, 5), data.cut, config, np.random.default_rng(1))
    (user,) = validation.users.tolist()
    assert data.items[validation.targets.indices].tolist() == ["80", "90", "95"]
    assert validation.moments.tolist() == [data.cut - 28 * DAY]
    own = rest.user == user
    assert rest.occurred_at[own].tolist() == [20 * DAY, 50 * DAY]
    assert rest.gap[own][-1] == gap_class(np.array([22 * DAY]))[0]  # up to the moment, not to the hidden purchase
    assert len(rest.user) == len(events.user) - 3


def test_with_few_users_in_the_last_days_last_baskets_are_held_out(small) -> None:
    data = small([(f"u{user}", f"{day}", day, str(day)) for user in range(9) for day in (20, 90, 95)])
    config = Config(horizon_days=28.0, validation_users=1)
    validation, _ = Validation.split(Ordered.of(data), (9, 3), data.cut, config, np.random.default_rng(1))
    assert data.items[validation.targets.indices].tolist() == ["95"]
    assert validation.moments.tolist() == [95 * DAY]
