"""What becomes of work on a placement while the world goes on."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, select, text, update

from infra.database.schema.schema import recommendation_batches, suppressions, users
from infra.installation import Installation
from models.lists.ranked_lists import Lists
from models.lists.rules.placement_config import Placement
from tasks.scoring import batch_state
from tasks.scoring.publish_batch import Segments, TextCodes, Work, publish_lists
from tests.published import tables

KEYS = np.array(["ann", "bob", "cleo", "dan"])
GOODS = np.array(["cup", "tea"])
SHOWN = text("SELECT user_key, item_id FROM current_recommendations ORDER BY user_key, rank")


@pytest.fixture
def here(installation: Installation) -> Installation:
    """Everybody agreed."""
    row = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
    with installation.engine.begin() as connection:
        connection.execute(insert(users), [{"user_key": key, **row} for key in KEYS.tolist()])
    return installation


def work(run: str, meanwhile: Callable[[], Any] = lambda: None, item: int = 0) -> Callable[[], Work]:
    """Lists of one item, two chunks of them; something happens between the chunks."""

    def lists(words: TextCodes) -> Iterator[Lists]:
        code = words.codes([f"of {run}"])[0]
        for rows in (np.array([2, 3]), np.array([0, 1])):
            shown, why = np.full((2, 1), item, np.int32), np.full((2, 1), code, np.int32)
            yield Lists(rows, KEYS[rows], shown, np.ones((2, 1), np.float32), why, np.array(["", ""]))
            if rows[0] == 2:
                meanwhile()

    about = batch_state.BatchSpec("home", run, 1, "v1", 1)
    all_users = Segments(["all"], np.zeros(len(KEYS), dtype=np.int64))
    return lambda: Work(Placement(k=1), about, KEYS, GOODS, np.ones(2, dtype=bool), lists, all_users)


def seen(here: Installation) -> list[tuple[str, str]]:
    with here.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(SHOWN)]


def test_a_user_who_withdraws_consent_or_leaves_while_lists_are_made_is_not_in_the_batch(here: Installation) -> None:
    def leave() -> None:
        with here.engine.begin() as connection:
            connection.execute(update(users).where(users.c.user_key == "cleo").values(consent=False))
            connection.execute(insert(suppressions).values(user_key="ann", reason="left"))

    batch = publish_lists(here, work("one", leave), "home")
    assert batch["users"] == 2
    with here.engine.connect() as connection:
        stored = connection.execute(text("SELECT subject FROM recommendations ORDER BY subject")).scalars().all()
    assert stored == ["bob", "dan"]


def test_a_live_batch_is_not_made_again(here: Installation) -> None:
    first = publish_lists(here, work("one"), "home")

    def never() -> None:
        raise AssertionError

    assert publish_lists(here, work("one", never), "home") == first


def test_a_run_that_breaks_leaves_the_lists_before_and_the_next_one_completes(here: Installation) -> None:
    first = publish_lists(here, work("one"), "home")

    def break_off() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        publish_lists(here, work("two", break_off, 1), "home")
    assert seen(here) == [(key, "cup") for key in KEYS.tolist()]
    second = publish_lists(here, work("two", item=1), "home")
    assert seen(here) == [(key, "tea") for key in KEYS.tolist()]
    assert tables(here.engine) == {first["batch_id"], second["batch_id"]}


def test_of_two_runs_the_second_waits_and_finds_nothing_left_to_do(here: Installation) -> None:
    begun, go_on = Event(), Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(10)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(publish_lists, here, work("one", wait), "home")
        assert begun.wait(10)
        second = pool.submit(publish_lists, here, work("one"), "home")
        assert not second.done()
        go_on.set()
        assert first.result()["batch_id"] == second.result()["batch_id"]
    with here.engine.connect() as connection:
        assert len(connection.execute(select(recommendation_batches)).all()) == 1


def test_lists_that_were_shown_before_can_be_made_and_shown_again(here: Installation) -> None:
    first = publish_lists(here, work("one"), "home")
    publish_lists(here, work("two", item=1), "home")
    assert publish_lists(here, work("one"), "home")["batch_id"] == first["batch_id"]
    assert seen(here) == [(key, "cup") for key in KEYS.tolist()]


def test_a_run_that_a_person_stops_leaves_a_note_and_the_next_one_finishes_its_batch(here: Installation) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_lists(here, work("first", stop), "home")
    results = select(recommendation_batches.c.status, recommendation_batches.c.detail)
    with here.engine.connect() as connection:
        assert connection.execute(results).one() == (batch_state.LOADING, "stopped by a person")
    assert publish_lists(here, work("first"), "home")["detail"] is None
