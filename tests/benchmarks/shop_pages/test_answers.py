"""The benchmark of pages leaves no answers behind."""

from sqlalchemy import text

from benchmarks.shop_pages.answers import more_answers
from infra.installation import Installation
from tests.published import published, shelf

COUNTS = "SELECT source, sum(answers)::int FROM answer_counts GROUP BY source ORDER BY source"
ROWS = "SELECT source, count(*)::int FROM served_answers GROUP BY source ORDER BY source"
OWN = "INSERT INTO served_answers (recommendation_id, placement, source) VALUES ('r', 'home', 'table')"


def test_more_answers_are_stored_meanwhile_and_removed_again(installation: Installation) -> None:
    engine = installation.engine
    for placement in ("home", "email"):
        published(engine, {"ann": [("1", 1.0, "because")]}, shelf(placement, placement, k=1))
    with engine.begin() as connection:
        connection.execute(text(OWN))

    def stored() -> list[list[tuple[str, int]]]:
        with engine.connect() as connection:
            return [[tuple(row) for row in connection.execute(text(query))] for query in (ROWS, COUNTS)]

    with more_answers(engine, 1_000):
        assert stored() == [[("benchmark", 1_000), ("table", 1)]] * 2
    assert stored() == [[("table", 1)]] * 2
