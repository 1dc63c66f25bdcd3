import pytest

from models.rhythm import how_often


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (0, "every day"),
        (1.4, "every day"),
        (3.6, "every 4 days"),
        (5.5, "every 6 days"),
        (6, "every week"),
        (8, "every week"),
        (20, "every 3 weeks"),
        (58, "every 8 weeks"),
        (61, "every 2 months"),
        (365, "every 12 months"),
    ],
)
def test_a_gap_is_told_in_the_unit_that_people_use(days: float, words: str) -> None:
    assert how_often(days) == words
