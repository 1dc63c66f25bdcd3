import math

import numpy as np
import pytest
from scipy import sparse

from models.monitoring.audit.group_metrics import miscalibration

CATEGORY = np.array(["A", "A", "B", "B", ""])


def divergence(bought: list[float], shown: list[float]) -> float:
    pairs = [sparse.csr_array(np.array([row])) for row in (bought, shown)]
    return float(miscalibration(pairs[0], pairs[1], CATEGORY)[0])


def test_a_list_with_the_categories_of_the_history_is_calibrated() -> None:
    assert divergence([1, 1, 1, 1, 0], [0.5, 0, 0, 0.5, 0]) == pytest.approx(0)
    assert divergence([1, 0, 0, 0, 1], [0.2, 0.2, 0, 0, 0.6]) == pytest.approx(0)


def test_it_is_stecks_divergence_with_a_hundredth_of_the_history_in_the_list() -> None:
    p, q = (3 / 4, 1 / 4), (1 / 3, 2 / 3)
    by_hand = sum(a * math.log(a / (0.99 * b + 0.01 * a)) for a, b in zip(p, q, strict=True))
    assert divergence([2, 1, 1, 0, 0], [1 / 3, 0, 1 / 3, 1 / 3, 0]) == pytest.approx(by_hand)


def test_a_list_without_what_the_user_buys_is_as_far_off_as_can_be() -> None:
    assert divergence([1, 0, 0, 0, 0], [0, 0, 1, 0, 0]) == pytest.approx(math.log(100))


@pytest.mark.parametrize(("bought", "shown"), [([0] * 5, [1, 0, 0, 0, 0]), ([1, 0, 0, 0, 0], [0, 0, 0, 0, 1])])
def test_without_a_history_or_a_category_there_is_no_figure(bought: list[float], shown: list[float]) -> None:
    assert math.isnan(divergence(bought, shown))
