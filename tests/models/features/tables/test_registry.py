import duckdb
import narwhals as nw
import pandas as pd
import pytest

from models.features.tables.registry import TABLES
from models.features.tables.user_features import sequences

EVENTS = [
    ("ann", "milk", "purchase", 10, 11, "s1", 1.0, 2.0),
    ("ann", "tea", "purchase", 10, 11, "s1", 1.0, 5.0),
    ("bob", "milk", "purchase", 20, 21, "s2", 2.0, 4.0),
    ("bob", "tea", "view", 30, 31, None, None, None),
]
COLUMNS = ["user_key", "item_id", "event_type", "occurred_at", "received_at", "session_id", "quantity", "value"]
ITEMS = [("milk", "food|dairy", "moo", 2.0), ("tea", "food|drinks", "leaf", 6.0)]
NUMBERS = {"ann": 0, "bob": 1, "milk": 0, "tea": 1}


def frames(
    connection: duckdb.DuckDBPyConnection, *, coded: bool = False
) -> list[nw.LazyFrame[duckdb.DuckDBPyRelation]]:
    events, items = pd.DataFrame(EVENTS, columns=COLUMNS), pd.DataFrame(ITEMS, columns=[COLUMNS[1], *CATALOGUE])
    if coded:
        events = events.assign(user_key=events.user_key.map(NUMBERS), item_id=events.item_id.map(NUMBERS))
        items = items.assign(item_id=items.item_id.map(NUMBERS))
    return [nw.from_native(connection.from_df(frame)) for frame in (events, items)]


CATALOGUE = ["category", "brand", "price"]
BUILDS = {name: table.build for name, table in TABLES.items()}
BUILDS["sequences"] = lambda events, _, now: sequences(events, now)


@pytest.mark.parametrize("name", BUILDS)
def test_keys_may_be_numbers_as_well_as_words(name: str) -> None:
    with duckdb.connect() as connection:
        words, numbers = (
            BUILDS[name](*frames(connection, coded=coded), 100).collect("pandas").to_native() for coded in (False, True)
        )
    for key in {"user_key", "item_id"} & {*words}:
        words[key] = words[key].map(NUMBERS)
    order = [column for column in ("user_key", "item_id", "position") if column in words]
    pd.testing.assert_frame_equal(
        *(t.sort_values(order, ignore_index=True) for t in (words, numbers)), check_dtype=False
    )
