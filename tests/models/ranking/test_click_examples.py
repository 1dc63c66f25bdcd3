"""What click models learn from, by hand and without a look at what comes later."""

from collections.abc import Callable
from math import log
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd
import pytest

from models.datasets.labels import LabelConfig
from models.ranking.click_examples import CLICKS_BY, COLUMNS, click_rows

DAY = 86_400
START, END = 50 * DAY, 60 * DAY
NAMES = [
    "user_key",
    "item_id",
    "event_type",
    "occurred_at",
    "received_at",
    "recommendation_id",
    "placement",
    "position",
]
KINDS = dict.fromkeys(NAMES, "str") | {"occurred_at": "int64", "received_at": "int64", "position": "Int64"}
ITEMS = pd.DataFrame(
    {"item_id": ["tea", "gum", "nut"], "category": ["DRINK", "SWEET", None], "brand": ["Ash", "Elm", "Ash"]}
)
Engine = Callable[[pd.DataFrame], nw.LazyFrame[Any]]
CONNECTION = duckdb.connect()


def on_duckdb(rows: pd.DataFrame) -> nw.LazyFrame[Any]:
    return nw.from_native(CONNECTION.from_df(rows))


def on_pandas(rows: pd.DataFrame) -> nw.LazyFrame[Any]:
    return nw.from_native(rows).lazy()


@pytest.fixture(params=[on_duckdb, on_pandas])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


def impression(user: str, item: str, at: int, position: int | None, clicked: bool = False) -> list[tuple[Any, ...]]:
    rec = f"r{at}"
    rows: list[tuple[Any, ...]] = [(user, item, "impression", at, at, rec, "home", position)]
    return rows + [(user, item, "click", at + 9, at + 9, rec, "home", position)] * clicked


PAST = [
    *impression("ann", "tea", START - 9 * DAY, 1, clicked=True),
    *impression("bob", "tea", START - 8 * DAY, 1),
    *impression("ann", "gum", START - 7 * DAY, 2),
    *impression("ann", "gum", START - 6 * DAY, 2, clicked=True),
    *impression("ann", "gum", START - 5 * DAY, 2),
    *impression("ann", "gum", START - 4 * DAY, 2),
    *impression("ann", "tea", START - 31 * DAY, 1, clicked=True),  # before the history
]
NOW = [
    *impression("ann", "tea", START, 1, clicked=True),
    *impression("bob", "nut", START + DAY, 21),
    *impression("cleo", "gum", START + 2 * DAY, None),
]


def made(engine: Engine, rows: list[tuple[Any, ...]]) -> dict[str, dict[str, Any]]:
    events = engine(pd.DataFrame(rows, columns=NAMES).astype(KINDS))
    table = click_rows(events, engine(ITEMS), START, END, LabelConfig(), history_days=30, prior_clicks=2)
    return {row["user_key"]: row for row in table.collect("pyarrow").rows(named=True)}


def test_by_hand(engine: Engine) -> None:
    # Of the past, place 1 was clicked in 1 of 2 and place 2 in 1 of 4.
    found = made(engine, PAST + NOW)
    tea, ann = log((1 + 2) / (2 / 2 + 2)), log((2 + 2) / (1 / 2 + 4 / 4 + 2))
    ann_tea, bob, gum = log((1 + 2) / (1 / 2 + 2)), log((0 + 2) / (1 / 2 + 2)), log((1 + 2) / (4 / 4 + 2))
    expected = {
        "ann": ("1", tea, ann, ann_tea, ann_tea, 1),
        "bob": ("21+", 0.0, bob, 0.0, bob, 0),  # nut is new, and of the brand of tea
        "cleo": ("unknown", gum, 0.0, 0.0, 0.0, 0),
    }
    assert {user: row["place"] for user, row in found.items()} == {user: row[0] for user, row in expected.items()}
    for user, row in found.items():
        assert [row[name] for name in (*CLICKS_BY, "label")] == pytest.approx(expected[user][1:])


def test_nothing_from_the_start_on_changes_what_is_learned_from(engine: Engine) -> None:
    later = [
        *impression("ann", "tea", START + 1, 1, clicked=True),
        *impression("dan", "gum", START + 5 * DAY, 2, clicked=True),
        ("ann", "gum", "click", START - 4 * DAY + 5, START, f"r{START - 4 * DAY}", "home", 2),  # arrives too late
    ]
    before, after = made(engine, PAST + NOW), made(engine, PAST + NOW[2:] + later)
    for user in ("bob", "cleo"):
        assert [after[user][name] for name in COLUMNS] == [before[user][name] for name in COLUMNS]


def test_without_a_past_everything_is_as_expected(engine: Engine) -> None:
    assert {row[name] for row in made(engine, NOW).values() for name in CLICKS_BY} == {0.0}
