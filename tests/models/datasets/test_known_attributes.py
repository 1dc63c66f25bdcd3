import pyarrow as pa

from models.datasets.known_attributes import BEGINNING, NO_HISTORY, as_known

ITEMS = pa.table(
    {"item_id": ["cup", "jug"], "category": ["new", "same"], "price": [3.0, None], "available": [False, True]}
)


def history(*rows: tuple[str, str, int, str | None]) -> pa.Table:
    names = ("item_id", "name", "since", "value")
    kinds = pa.schema(dict(zip(names, (pa.string(), pa.string(), pa.int64(), pa.string()), strict=True)))
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], kinds)


CHANGED = history(
    ("cup", "category", BEGINNING, "old"),
    ("cup", "category", 10, "new"),
    ("cup", "available", BEGINNING, "true"),
    ("cup", "available", 30, "false"),
    ("cup", "price", 20, "3"),
    ("gone", "price", 20, "3"),
)


def test_each_value_counts_from_the_moment_on_after_it_was_known() -> None:
    then = {cut: as_known(ITEMS, "item_id", CHANGED, cut).to_pylist()[0] for cut in (10, 11, 21, 31)}
    assert [then[cut]["category"] for cut in then] == ["old", "new", "new", "new"]
    assert [then[cut]["price"] for cut in then] == [None, None, 3, 3]
    assert [then[cut]["available"] for cut in then] == [True, True, True, False]


def test_attributes_that_never_changed_are_as_they_are() -> None:
    assert as_known(ITEMS, "item_id", CHANGED, 5).schema == ITEMS.schema
    assert as_known(ITEMS, "item_id", CHANGED, 5).to_pylist()[1] == ITEMS.to_pylist()[1]
    assert as_known(ITEMS, "item_id", NO_HISTORY, 5) is ITEMS
    assert as_known(ITEMS, "item_id", history(("cup", "colour", 3, "red")), 5) is ITEMS
