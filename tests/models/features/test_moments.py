from models.features.planned_queries import MOMENT, moved
from models.primitives.time import DAY


def test_the_moment_and_what_is_days_before_it_are_moved() -> None:
    sql = f'SELECT ({MOMENT} - at) AS age FROM "history {MOMENT}" WHERE at >= CAST({MOMENT - 365 * DAY} AS INTEGER)'

    assert moved(sql, 40_000_000) == (
        'SELECT (40000000 - at) AS age FROM "history 40000000" WHERE at >= CAST(8464000 AS INTEGER)'
    )


def test_other_numbers_stay() -> None:
    sql = f"SELECT 86400, 0.{MOMENT}, {MOMENT}1, a{MOMENT}, 1000000000, 2147483647"

    assert moved(sql, 0) == sql
