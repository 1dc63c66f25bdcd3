import numpy as np
import pyarrow as pa
import pytest

from models.datasets.acceptance import Acceptance, DatasetLimits
from models.datasets.interaction_matrix import profiles, rows
from models.datasets.known_attributes import BEGINNING, NO_HISTORY, as_known
from models.datasets.training_data import TrainingData, build, item_ids, targets
from models.errors import NoHistoryError, TailorbirdError

DAY = 86_400
COLUMNS = ("user_key", "item_id", "occurred_at", "quantity", "value", "session_id")
ROWS = [
    ("bea", "milk", 9 * DAY, 1.0, 2.0, "s2"),
    ("ann", "milk", 1 * DAY, 1.0, 2.0, "s1"),
    ("ann", "milk", 1 * DAY + 60, 1.0, 2.0, "s1"),  # again in the same basket
    ("ann", "bread", 1 * DAY, 1.0, 3.0, "s1"),
    ("bea", "bread", 2 * DAY, 1.0, 3.0, "s1"),  # the same session id, another user
    ("ann", "unlisted", 3 * DAY, 1.0, 3.0, "s9"),
    ("ann", "future", 10 * DAY, 1.0, 3.0, "s3"),  # at the cut: not known yet
    ("cleo", "milk", 11 * DAY, 1.0, 3.0, "s4"),
    ("ann", "milk", 5 * DAY, 1.0, 2.0, None),
    ("ann", "milk", 6 * DAY, 1.0, 2.0, None),
]
USERS = {"user_key": ["cleo", "bea"], "age": ["19-24", "65+"], "visits": [3, 7]}
ITEMS = {
    "item_id": ["milk", "future", "bread"],
    "title": ["Milk", "Future", None],
    "category": ["DAIRY|MILK", "X", None],
    "brand": ["Private", None, "National"],
    "available": [True, True, None],
}
SHELF = pa.table(
    {"item_id": ["cup", "jug"], "category": ["new", "same"], "price": [3.0, None], "available": [False, True]}
)


def built(rows: list[tuple[object, ...]] = ROWS, kind: pa.DataType | None = None) -> TrainingData:
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    table = pa.table(columns)
    for at, name in enumerate(COLUMNS):
        if kind and name in {"user_key", "item_id", "session_id"}:
            table = table.set_column(at, name, table[name].cast(kind))
    data = build(table, pa.table(USERS), pa.table(ITEMS), 10 * DAY, ("age", "visits"), ("category", "brand"))
    assert item_ids(table, pa.table(ITEMS), 10 * DAY).tolist() == data.items.tolist()
    return data


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_only_what_happened_before_the_cut_to_catalogue_items_is_known(kind: pa.DataType) -> None:
    data = built(kind=kind)
    assert data.users.tolist() == ["ann", "bea"]
    assert data.items.tolist() == ["bread", "milk"]
    assert data.occurred_at.max() < data.cut


def test_a_product_counts_once_a_basket_at_its_latest_moment() -> None:
    data = built()
    ann_milk = data.occurred_at[(data.user == 0) & (data.item == 1)]
    assert sorted(ann_milk.tolist()) == [1 * DAY + 60, 5 * DAY, 6 * DAY]


def test_two_users_never_share_a_basket_and_events_without_session_are_baskets_of_their_own() -> None:
    data = built()
    owner = {basket: set(data.user[data.basket == basket].tolist()) for basket in set(data.basket.tolist())}
    assert all(len(users) == 1 for users in owner.values())
    assert sorted(owner) == list(range(5))


def test_the_order_of_the_rows_does_not_matter() -> None:
    one, other = built(), built(ROWS[::-1])
    for name in ("user", "item", "occurred_at"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_tags_stand_in_the_order_of_users_and_items_and_unknown_values_give_none() -> None:
    data = built()
    user_tags = dict(zip(data.user_tag_rules.names.tolist(), data.user_tags.toarray().T.tolist(), strict=True))
    assert user_tags["age=65+"] == [0, 1]
    assert data.user_tags.toarray()[0].sum() == 0
    item_tags = dict(zip(data.item_tag_rules.names.tolist(), data.item_tags.toarray().T.tolist(), strict=True))
    assert item_tags == {
        "category=DAIRY": [0, 1],
        "category=DAIRY|MILK": [0, 1],
        "brand=National": [1, 0],
        "brand=Private": [0, 1],
    }


def test_missing_titles_and_categories_are_empty_and_availability_is_assumed() -> None:
    data = built()
    assert data.item_titles.tolist() == ["", "Milk"]
    assert data.item_categories.tolist() == ["", "DAIRY|MILK"]
    assert data.available.tolist() == [True, True]


def test_an_empty_history_is_refused_with_advice() -> None:
    with pytest.raises(NoHistoryError, match="ingest more data or cut later"):
        built([("cleo", "milk", 11 * DAY, 1.0, 3.0, "s4")])


def test_a_profile_is_halved_by_age_which_begins_with_the_users_latest(small) -> None:
    own = profiles(small([("a", "x", 90, "1"), ("a", "y", 80, "2"), ("b", "x", -9000, "3")]), half_life_days=10)
    np.testing.assert_allclose(own.toarray(), [[1, 0.5], [1, 0]])
    both = profiles(small([("a", "x", 90, "1"), ("a", "x", 80, "2")]), half_life_days=10)
    np.testing.assert_allclose(both.toarray(), [[1.5]])


def test_strangers_have_no_profile(small) -> None:
    own = profiles(small([("a", "x", 1, "1"), ("b", "y", 1, "2")]), 10)
    assert rows(own, np.array([-1, 1, 0], np.int32)).toarray().tolist() == [[0, 0], [0, 1], [1, 0]]
    assert rows(own, np.array([-1], np.int32)).nnz == 0


@pytest.fixture
def later() -> pa.Table:
    rows = [
        ("a", "x", 99),  # before the window
        ("a", "y", 100),  # the first moment of the window
        ("a", "y", 101),
        ("b", "x", 106),
        ("b", "unknown", 101),
        ("stranger", "x", 101),
        ("b", "y", 107),  # the first moment after the window
    ]
    user, item, day = zip(*rows, strict=True)
    return pa.table({"user_key": user, "item_id": item, "occurred_at": [d * DAY for d in day]})


def test_targets_are_known_items_bought_by_known_users_in_the_window(small, later: pa.Table) -> None:
    data = small([("a", "x", 1, "1"), ("b", "y", 1, "2")])
    result = targets(later, data, 100 * DAY, 107 * DAY)
    assert result.dtype == bool
    assert result.toarray().tolist() == [[False, True], [True, False]]
    assert result.nnz == 2


def test_a_window_that_models_have_seen_is_refused(small, later: pa.Table) -> None:
    with pytest.raises(ValueError, match="training data reach up to"):
        targets(later, small([("a", "x", 1, "1")]), 99 * DAY, 107 * DAY)


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
    then = {cut: as_known(SHELF, "item_id", CHANGED, cut).to_pylist()[0] for cut in (10, 11, 21, 31)}
    assert [then[cut]["category"] for cut in then] == ["old", "new", "new", "new"]
    assert [then[cut]["price"] for cut in then] == [None, None, 3, 3]
    assert [then[cut]["available"] for cut in then] == [True, True, True, False]


def test_attributes_that_never_changed_are_as_they_are() -> None:
    assert as_known(SHELF, "item_id", CHANGED, 5).schema == SHELF.schema
    assert as_known(SHELF, "item_id", CHANGED, 5).to_pylist()[1] == SHELF.to_pylist()[1]
    assert as_known(SHELF, "item_id", NO_HISTORY, 5) is SHELF
    assert as_known(SHELF, "item_id", history(("cup", "colour", 3, "red")), 5) is SHELF


def test_checks_are_accepted_once_each_with_a_reason_and_a_name() -> None:
    result = Acceptance.of(["a ", "b", "a", " "], " the first export was a sample ", "ann")
    assert result == Acceptance(("a", "b"), "the first export was a sample", "ann")
    assert Acceptance.of([]) == Acceptance(accepted_by="unknown")


def test_no_check_is_accepted_without_a_reason() -> None:
    with pytest.raises(TailorbirdError, match="such as --reason"):
        Acceptance.of(["a"], "  ")


@pytest.mark.parametrize(
    ("name", "value"), [("smallest_ratio", 1.5), ("null_rise", -1), ("largest_ratio", 0.5), ("group_users", 1e9)]
)
def test_a_limit_that_nothing_can_keep_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        DatasetLimits(**{name: value})
