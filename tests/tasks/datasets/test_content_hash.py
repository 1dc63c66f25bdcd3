import duckdb
import pytest

from tasks.datasets.snapshot_tables import content_hash

ROWS = "(VALUES ('a', 1, 0.5), ('b', 2, NULL), ('c', NULL, 1.25)) AS rows (name, n, x)"


def digest(rows: str, *keys: str) -> str:
    with duckdb.connect() as connection:
        return content_hash(connection, f"(SELECT * FROM {rows})", keys)


def changed(old: str, new: str) -> str:
    return ROWS.replace(old, new)


@pytest.mark.parametrize("keys", [(), ("name",)])
def test_the_order_of_rows_does_not_matter_and_their_number_does(keys: tuple[str, ...]) -> None:
    turned = "(VALUES ('c', NULL, 1.25), ('a', 1, 0.5), ('b', 2, NULL)) AS rows (name, n, x)"
    assert digest(turned, *keys) == digest(ROWS, *keys)
    twice = changed("('a', 1, 0.5)", "('a', 1, 0.5), ('a', 1, 0.5)")
    assert digest(twice, *keys) != digest(ROWS, *keys)


@pytest.mark.parametrize("keys", [(), ("name",)])
@pytest.mark.parametrize(("old", "new"), [("'a'", "'z'"), ("2, NULL", "3, NULL"), ("0.5", "0.51"), ("1.25", "NULL")])
def test_every_value_counts(old: str, new: str, keys: tuple[str, ...]) -> None:
    assert digest(changed(old, new), *keys) != digest(ROWS, *keys)


def test_numbers_that_change_places_are_seen() -> None:
    turned = "(VALUES ('a', 1, 1.25), ('b', 2, NULL), ('c', NULL, 0.5)) AS rows (name, n, x)"
    doubles = "(SELECT name, n, x::DOUBLE AS x FROM {})"
    assert digest(doubles.format(turned), "name") != digest(doubles.format(ROWS), "name")


def test_rounding_errors_of_sums_do_not_matter_where_rows_have_keys() -> None:
    doubles = "(SELECT name, x::DOUBLE * {} AS x FROM " + ROWS + ")"
    assert digest(doubles.format("1"), "name") == digest(doubles.format("(1 + 1e-14)"), "name")


def test_an_empty_table_that_has_lost_its_columns_has_the_digest_of_an_empty_one() -> None:
    lost, empty = "(SELECT 1 AS nothing WHERE false)", "(SELECT 1 AS user_key, 1.5 AS label WHERE false)"
    with duckdb.connect() as connection:
        assert content_hash(connection, lost, ("user_key",)) == content_hash(connection, empty, ("user_key",))
