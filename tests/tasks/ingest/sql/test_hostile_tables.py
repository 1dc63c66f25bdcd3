"""One odd row or value does not cost the others, and is never passed over in silence."""

import pytest

from models.ingest.tabular.sql_cursor import CursorError
from tests.tasks.ingest.sql.source import MAPPING, Source


def test_long_and_odd_numbers_are_a_cursor_or_refused(orders: Source) -> None:
    orders.run("ALTER TABLE orders ADD version numeric, ADD change double precision DEFAULT 'NaN'")
    insert = "INSERT INTO orders (id, customer, product, ordered_at, version) SELECT n, 'c', 'p', '2024-03-01', "
    insert += "36893488147419103232 + n + 0.5 FROM generate_series({}, {}) AS s(n)"
    orders.run(insert.format(1, 9))
    assert orders.counts(cursor="version", overlap="0", most=5) == [(5, 5, 0), (4, 4, 0)]
    orders.run(insert.format(10, 12))
    assert orders.counts(cursor="version", overlap="0") == [(4, 3, 1)]
    with pytest.raises(CursorError, match="holds nan, which is no number"):
        orders.ingest(cursor="change")


def test_nanoseconds_of_a_cursor_that_python_cuts_are_read_once(duck_orders: Source) -> None:
    duck_orders.run("ALTER TABLE orders ALTER updated_at TYPE TIMESTAMP_NS")
    duck_orders.add(1, 9, "make_timestamp_ns(1709251200000000000 + n * 100)")
    duck_orders.add(10, 11, "make_timestamp_ns(1709251200000000000 + n * 1000)")
    mapping = MAPPING.replace('cursor = "updated_at"', 'cursor = "updated_at"\noverlap = "0s"')
    assert duck_orders.counts(mapping, most=2) == [(9, 9, 0), (2, 2, 0)]
    assert duck_orders.lake() == list(range(1, 12))
