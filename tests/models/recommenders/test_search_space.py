from itertools import product

import pytest

from models.recommenders.search_space import Choice, Float, Integer, grid, within

SPACE = {"rate": Float(0.1, 10, log=True), "depth": Integer(2, 4), "loss": Choice(("a", "b"))}


def test_a_grid_is_the_finest_of_no_more_than_so_many_settings() -> None:
    assert [tuple(settings.values()) for settings in grid(SPACE, 20)] == [
        (pytest.approx(rate), depth, loss) for rate, depth, loss in product((0.1, 1, 10), (2, 3, 4), ("a", "b"))
    ]


def test_a_grid_that_is_too_large_has_the_ends_alone() -> None:
    ends = [{"rate": rate, "depth": depth, "loss": loss} for rate, depth, loss in product((0.1, 10), (2, 4), "ab")]
    assert grid(SPACE, 3) == grid(SPACE, 8) == [{**end, "rate": pytest.approx(end["rate"])} for end in ends]


def test_no_setting_of_a_grid_stands_there_twice_nor_outside() -> None:
    settings = grid(SPACE, 10_000)
    assert len({tuple(one.values()) for one in settings}) == len(settings) == 9 * 3 * 2
    assert all(within(SPACE, one) == one for one in settings)


def test_settings_from_elsewhere_are_moved_into_the_space() -> None:
    assert within(SPACE, {"rate": 100, "depth": 1, "loss": "c", "other": 3}) == {"rate": 10, "depth": 2}
