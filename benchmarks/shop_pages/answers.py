"""Many answers that were shown, of a shop with many visitors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine, text

_SOURCE: Final = "benchmark"
_ADD: Final = """
    INSERT INTO served_answers (recommendation_id, placement, source, shown_at)
    SELECT :source || '-' || number, placement, :source, now() - number * interval '1 day' / :number
    FROM generate_series(1, :number) AS number
    JOIN (SELECT placement, row_number() OVER () AS place, count(*) OVER () AS most FROM placements) AS live
        ON place = number % most + 1"""
_REMOVE: Final = (
    "DELETE FROM served_answers WHERE source = :source",
    "DELETE FROM answer_counts WHERE source = :source",
)


@contextmanager
def more_answers(engine: Engine, number: int) -> Iterator[None]:
    """Store that many answers of the last 24 hours meanwhile, in all placements with lists."""
    if not number:
        yield
        return
    _run(engine, number, *_REMOVE, _ADD)  # a benchmark that was killed has left some
    try:
        yield
    finally:
        _run(engine, number, *_REMOVE)


def _run(engine: Engine, number: int, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), {"source": _SOURCE, "number": number})
