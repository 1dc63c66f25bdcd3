from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest

from benchmarks.gate.shops import DAYS, SHAPES, Shape, simulate
from benchmarks.gate.trials import _figures, _rate, trial

SMALL = replace(SHAPES[1], users=60, items=120, visits=12.0, quiet=0.0)


def test_a_seed_gives_the_same_shop_again_and_another_seed_another() -> None:
    first, again, other = (simulate(SMALL, seed) for seed in (1, 1, 2))
    assert first.interactions.equals(again.interactions)
    assert not first.interactions.equals(other.interactions)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_shop_has_the_traits_of_its_shape(shape: Shape) -> None:
    shop = simulate(replace(shape, users=60), 3)
    assert (pc.count(shop.items["category"]).as_py() > 0) == shape.categories
    assert len(shop.users.column_names) == 1 + len(shape.traits)
    moments = np.asarray(shop.dataset(DAYS).interactions["occurred_at"])
    assert moments.max() < DAYS * 86_400 <= np.asarray(shop.interactions["occurred_at"]).max()


def test_a_trial_judges_a_first_champion_and_its_renewal_against_the_promotion() -> None:
    result = trial(SMALL, 1)
    assert "shows more than a few items" in {check.name for check in result.first.checks}
    assert "renews the champion" in {check.name for check in result.renewal.checks}
    details = {check.name: check.detail for check in result.renewal.checks}
    assert "at the champion's promotion" in details["shows items evenly"]
    figures = _figures([result, result])
    assert figures["gain"] == result.gain
    assert figures["renewal_false_refusal_rate"] == float(not result.renewal.passed)


def test_sixty_trials_without_a_refusal_bound_the_rate_below_five_percent() -> None:
    assert _rate("rate", 0, 60) == {"rate": 0.0, "rate_upper": pytest.approx(0.0487, abs=1e-4)}
