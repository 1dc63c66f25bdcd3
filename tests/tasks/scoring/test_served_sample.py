"""What is remembered of what was shown, at moments that tests set; `day(n)` is the n-th day before now."""

import time
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, text, update

from infra.database.engine import engine
from infra.database.schema.monitoring_schema import published_lists as kept
from infra.database.schema.schema import suppressions, users
from models.columns import ITEMS, SHOWN_FROM, SHOWN_UNTIL, USER_KEY
from tasks.scoring import batch_state, served_sample
from tasks.scoring.served_sample import models_during, shown_during
from tests.published import Entries, published, put_back, shelf

NAMES = [f"u{n}" for n in range(6)]
NOW = time.time()


@pytest.fixture
def store(database: str) -> Engine:
    """Six users, who agreed."""
    agreed = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
    with engine(database).begin() as connection:
        connection.execute(insert(users), [{"user_key": name, **agreed} for name in NAMES])
    return engine(database)


def day(n: float) -> float:
    return NOW - n * 86_400


def lists(*items: str, names: list[str] = NAMES) -> dict[str, Entries]:
    return {name: [(item, 1.0, "why") for item in items] for name in names}


def show(store: Engine, shown: dict[str, Entries], ago: float, run: str = "run", **about: Any) -> int:
    """Publish lists, and date that so many days back."""
    batch_id = published(store, shown, shelf(run, k=2, **about))
    put_back(store, day(ago))
    return batch_id


def go_back(store: Engine, batch_id: int, ago: float) -> None:
    with store.begin() as connection:
        batch_state.restore_batch(connection, "home", batch_id, "ann: a test")
    put_back(store, day(ago))


def seen(store: Engine, start: float, end: float, placement: str = "home") -> dict[str, list[Any]]:
    """By user, the lists between two days with the days they came and went."""
    with store.connect() as connection:
        rows = shown_during(connection, placement, day(start), day(end)).to_pylist()
    result: dict[str, list[Any]] = {}
    for row in rows:
        days = [round((NOW - row[name]) / 86_400, 3) for name in (SHOWN_FROM, SHOWN_UNTIL)]
        result.setdefault(row[USER_KEY], []).append((row[ITEMS], *days))
    return result


def test_a_list_is_shown_from_its_publishing_to_the_next_within_the_window(store: Engine) -> None:
    show(store, lists("cup", "tea"), 9, "one")
    show(store, lists("tea", "jug"), 4, "two")
    assert seen(store, 7, 2)["u3"] == [(["cup", "tea"], 7, 4), (["tea", "jug"], 4, 2)]
    assert seen(store, 12, 9) == {}
    assert seen(store, 12, 8)["u0"] == [(["cup", "tea"], 9, 8)]
    assert seen(store, 4, 1)["u0"] == [(["tea", "jug"], 4, 1)]


def test_lists_that_are_shown_again_do_not_take_the_place_of_their_first_time(store: Engine) -> None:
    first = show(store, lists("cup"), 9, "one")
    show(store, lists("tea"), 6, "two")
    go_back(store, first, 3)
    assert seen(store, 10, 0)["u1"] == [(["cup"], 9, 6), (["tea"], 6, 3), (["cup"], 3, 0)]


def test_lists_about_items_end_the_lists_of_users_and_are_nobodys(store: Engine) -> None:
    show(store, lists("cup"), 9, "one")
    show(store, lists("tea", names=["cup"]), 6, "two", about="item")
    show(store, lists("tea"), 5, "three", placement="basket")
    assert seen(store, 10, 0) == {name: [(["cup"], 9, 6)] for name in NAMES}
    show(store, lists("jug"), 4, "four")
    assert seen(store, 10, 0, "basket")["u0"] == [(["tea"], 5, 0)], "placements do not end each other's lists"


def test_the_same_few_people_are_followed_from_batch_to_batch(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_sample, "SAMPLE", 3)
    show(store, lists("cup"), 9, "one")
    show(store, lists("tea"), 6, "two")
    result = seen(store, 10, 0)
    assert len(result) == 3
    assert all(len(theirs) == 2 for theirs in result.values())
    hashes = "SELECT user_key FROM users ORDER BY hashtextextended(user_key, 0) LIMIT 3"
    with store.connect() as connection:
        assert set(connection.execute(text(hashes)).scalars()) == result.keys()


def test_a_user_who_left_is_not_read_any_more_and_forgotten_at_the_next_publishing(store: Engine) -> None:
    show(store, lists("cup"), 9, "one")
    with store.begin() as connection:
        connection.execute(insert(suppressions).values(user_key="u2", reason="left"))
        connection.execute(update(users).where(users.c.user_key == "u4").values(consent=False))
    assert seen(store, 10, 0).keys() == {"u0", "u1", "u3", "u5"}
    show(store, lists("tea"), 6, "two")
    with store.connect() as connection:
        assert set(connection.execute(select(kept.c.subject)).scalars()) == {"u0", "u1", "u3", "u5"}


def test_lists_replaced_half_a_year_ago_are_forgotten_and_those_still_shown_never(store: Engine) -> None:
    show(store, lists("cup"), 400, "one")
    show(store, lists("tea"), 182, "two")
    show(store, lists("jug"), 178, "three")
    batch_state.retire(store, "home")
    assert seen(store, 500, 0)["u0"] == [(["tea"], 182, 178), (["jug"], 178, 0)]


def test_replaced_lists_stay_for_the_period_of_the_settings(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_RETENTION", '{"served_lists": "2 years"}')
    for name, ago in (("cup", 900), ("tea", 400), ("jug", 178)):
        show(store, lists(name), ago, name)
    batch_state.retire(store, "home")
    assert [items for items, *_ in seen(store, 1000, 0)["u0"]] == [["cup"], ["tea"], ["jug"]]


def test_the_models_of_a_window_are_those_whose_lists_were_shown_then(store: Engine) -> None:
    for run, (ago, version) in enumerate([(9, 4), (6, 2), (3, 7)]):
        show(store, lists("cup"), ago, f"run {run}", version=version)
    with store.connect() as connection:
        assert models_during(connection, "home", day(7), day(4)) == [2, 4]
