from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, text

from infra.bulk import array
from infra.database import engine
from infra.schema import identities, items, placements, recommendation_batches, users
from models.errors import TailorbirdError
from tasks import publish

USERS, K = 40, 3
SHOWN = text("SELECT user_key, rank, item_id, batch_id FROM current_recommendations WHERE placement = 'home'")


@pytest.fixture
def store(database: str) -> Engine:
    """A database whose catalogue has ten items, the last not available."""
    goods = [
        {"item_id": f"i{n}", "title": f"Item {n}", "attributes": {}, "available": n < 9, "batch_id": "b"}
        for n in range(10)
    ]
    with engine(database).begin() as connection:
        connection.execute(insert(items), goods)
        agreed = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
        connection.execute(insert(users), [{"user_key": f"u{n}", **agreed} for n in range(USERS)])
        connection.execute(insert(identities), [{"user_key": "u0", "user_id": "raw 0", "key_version": 1}])
    return engine(database)


def shelf(run: int, placement: str = "home") -> publish.Shelf:
    return publish.Shelf(placement, f"run {run}", run, "v0", K)


def lists(**changes: Any) -> list[publish.Row]:
    """One sound list for each of the users; the first user's is changed."""
    sound = {"items": ["i1", "i2", "i3"], "scores": [3.0, 2.0, 1.0], "reasons": ["a", "b", None]}
    rows = [sound | changes, *([sound] * (USERS - 1))]
    return [(f"u{n}", *(array(row[name]) for name in sound)) for n, row in enumerate(rows)]


def load(store: Engine, run: int, rows: list[publish.Row] | None = None, placement: str = "home") -> int:
    """All steps up to the pointer; returns the batch."""
    with store.begin() as connection:
        batch_id: int = publish.batch_of(connection, shelf(run, placement))["batch_id"]
    publish.stage(store, batch_id)
    with store.begin() as connection:
        publish.load(connection, batch_id, lists() if rows is None else rows)
        publish.check(connection, batch_id, USERS, K)
    publish.attach(store, batch_id)
    return batch_id


def show(store: Engine, run: int, placement: str = "home") -> int:
    batch_id = load(store, run, placement=placement)
    with store.begin() as connection:
        before = publish.live_batch(connection, placement)
        counts = {"users": USERS, "recommendations": USERS * K}
        publish.point(connection, placement, batch_id, before, **counts)
    return batch_id


def live(store: Engine) -> int | None:
    with store.connect() as connection:
        return publish.live_batch(connection, "home")


def tables(store: Engine) -> set[int]:
    found = text("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'recommendations\\_%'")
    with store.connect() as connection:
        return {int(name.rpartition("_")[2]) for name in connection.execute(found).scalars()}


def statuses(store: Engine) -> dict[int, str]:
    both = select(recommendation_batches.c.batch_id, recommendation_batches.c.status)
    with store.connect() as connection:
        return {row.batch_id: row.status for row in connection.execute(both)}


def test_a_batch_is_seen_by_rank_with_titles_and_by_raw_id(store: Engine) -> None:
    batch_id = show(store, 1)
    with store.connect() as connection:
        found = connection.execute(text("SELECT * FROM recommendations_by_user_id ORDER BY rank")).mappings().all()
        assert len(connection.execute(SHOWN).all()) == USERS * K
    assert [(row["user_id"], row["rank"], row["title"], row["reason"]) for row in found] == [
        ("raw 0", 1, "Item 1", "a"),
        ("raw 0", 2, "Item 2", "b"),
        ("raw 0", 3, "Item 3", None),
    ]
    assert {(row["model_version"], row["batch_id"]) for row in found} == {(1, batch_id)}


def test_readers_see_one_whole_batch_while_many_are_published(store: Engine) -> None:
    show(store, 0)
    done = Event()

    def read() -> list[tuple[int, float]]:
        seen = []
        with store.connect() as connection:
            while not done.is_set():
                started = monotonic()
                rows = connection.execute(SHOWN).all()
                connection.rollback()
                assert len(rows) == USERS * K
                assert len({row.batch_id for row in rows}) == 1
                seen.append((rows[0].batch_id, monotonic() - started))
        return seen

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for run in range(1, 12):
                show(store, run)
                publish.retire(store, "home")
        finally:
            done.set()
        seen = [entry for reader in readers for entry in reader.result()]
    batches = [batch for batch, _ in seen]
    assert len(set(batches)) > 5
    assert max(seconds for _, seconds in seen) < 1.5


def test_housekeeping_behind_an_open_reader_stalls_nobody_and_is_done_next_time(store: Engine) -> None:
    batches = [show(store, run) for run in range(5)]
    with store.connect() as reader:
        reader.execute(SHOWN).all()
        started = monotonic()
        assert publish.retire(store, "home") == []
        with store.connect() as another:
            assert len(another.execute(SHOWN).all()) == USERS * K
        assert monotonic() - started < 1.5
    assert publish.retire(store, "home") == batches[:2][::-1]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (lists(items=["i1", "i2"], scores=[2.0, 1.0], reasons=["a", "b"]), "'short': 1"),
        (lists(items=["i1", "i2", "i2"]), "'repeated': 1"),
        (lists(items=["i1", "i2", None]), "'repeated': 1"),
        (lists(scores=[3.0, float("nan"), 1.0]), "'unscored': 1"),
        (lists(scores=[3.0, 2.0]), "'unscored': 1"),
        (lists(reasons=["a", "b", "c", "d"]), "'unscored': 1"),
        (lists(items=["i1", "i2", "i9"]), "'unavailable': 1"),
        (lists(items=["i1", "i2", "unheard of"]), "'unavailable': 1"),
        (lists()[1:], f"{USERS - 1} of {USERS} users"),
        ([], f"0 of {USERS} users"),
    ],
)
def test_an_unsound_batch_is_refused_and_readers_keep_the_one_before(
    store: Engine, rows: list[publish.Row], fault: str
) -> None:
    before = show(store, 1)
    with pytest.raises(publish.BatchUnsoundError, match=fault):
        load(store, 2, rows)
    assert live(store) == before
    with store.connect() as connection:
        assert len(connection.execute(SHOWN).all()) == USERS * K


@pytest.mark.parametrize("first", [True, False])
def test_of_two_that_publish_over_the_same_batch_the_second_loses(store: Engine, first: bool) -> None:
    expected = None if first else show(store, 0)
    rivals = [load(store, 1), load(store, 2)]
    with store.begin() as connection:
        publish.point(connection, shelf(1).placement, rivals[0], expected)
    with pytest.raises(TailorbirdError, match="Another batch was published for 'home'"), store.begin() as connection:
        publish.point(connection, shelf(2).placement, rivals[1], expected)
    assert live(store) == rivals[0]
    assert statuses(store)[rivals[1]] == publish.LOADING


def test_the_live_batch_and_two_before_it_are_kept(store: Engine) -> None:
    batches = []
    for run in range(6):
        batches.append(show(store, run))
        publish.retire(store, "home")
    assert live(store) == batches[-1]
    assert tables(store) == set(batches[-3:])
    kept = dict.fromkeys(batches[-3:], publish.PUBLISHED)
    assert statuses(store) == dict.fromkeys(batches[:-3], publish.RETIRED) | kept
    with store.connect() as connection:
        previous = connection.execute(select(placements.c.previous_batch_id)).scalar()
    assert previous == batches[-2]


def test_placements_are_kept_apart(store: Engine) -> None:
    home = show(store, 0)
    for run in range(1, 6):
        show(store, run, placement="basket")
    publish.retire(store, "basket")
    assert live(store) == home
    assert home in tables(store)


@pytest.mark.parametrize("until", ["staged", "half loaded", "attached"])
def test_the_next_run_starts_over_what_a_killed_one_left(store: Engine, until: str) -> None:
    with store.begin() as connection:
        batch_id = publish.batch_of(connection, shelf(1))["batch_id"]
    publish.stage(store, batch_id)
    if until == "half loaded":
        with store.begin() as connection:
            publish.load(connection, batch_id, lists()[:5])
    if until == "attached":
        load(store, 1)
    assert show(store, 1) == batch_id == live(store)
    with store.connect() as connection:
        assert len(connection.execute(SHOWN).all()) == USERS * K


def test_what_a_killed_run_left_goes_when_another_batch_takes_its_place(store: Engine) -> None:
    left = load(store, 1)
    batch_id = show(store, 2)
    assert publish.retire(store, "home") == [left]
    assert tables(store) == {batch_id}


def test_an_earlier_batch_can_be_published_again(store: Engine) -> None:
    first, _ = show(store, 1), show(store, 2)
    assert show(store, 1) == first == live(store)
    assert set(statuses(store).values()) == {publish.PUBLISHED}
