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
from tasks.scoring.publish_batch import (
    BatchUnsoundError,
    ListStatistics,
    Segments,
    TextCodes,
    Work,
    check_lists,
    publish_lists,
)
from tests.published import coded, loaded, shelf, tables

KEYS = np.array(["ann", "bob", "cleo", "dan"])
GOODS = np.array(["cup", "tea"])
SHOWN = text("SELECT user_key, item_id FROM current_recommendations ORDER BY user_key, rank")
SUBJECTS, K, N = 20, 3, 8
SUBJECT_KEYS = np.array([f"u{n:02}" for n in range(SUBJECTS)])
ON_SHELF = np.array([f"i{n}" for n in range(N)])
ALLOWED = np.arange(N) < N - 1
Change = Callable[[Lists], Lists]


@pytest.fixture
def here(installation: Installation) -> Installation:
    """Everybody agreed."""
    row = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
    with installation.engine.begin() as connection:
        connection.execute(insert(users), [{"user_key": key, **row} for key in (*KEYS, *SUBJECT_KEYS)])
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


def sound(words: TextCodes, first: int = 0) -> Lists:
    """Everybody is shown the same three items."""
    shown = np.tile(np.arange(first, first + K, dtype=np.int32), (SUBJECTS, 1))
    reasons = np.full((SUBJECTS, K), words.codes(["because"])[0], dtype=np.int32)
    scores = np.full((SUBJECTS, K), 0.5, dtype=np.float32)
    return Lists(np.arange(SUBJECTS), SUBJECT_KEYS, shown, scores, reasons, np.full(SUBJECTS, "", dtype="U20"))


def publishing(here: Installation, run: str, change: Change = lambda made: made, **entries: Any) -> dict[str, Any]:
    segments = Segments(["all"], np.zeros(SUBJECTS, dtype=np.int64))
    placement = Placement(k=K, **entries)

    def work() -> Work:
        about = batch_state.BatchSpec("home", run, 1, "v1", K)
        return Work(
            placement, about, SUBJECT_KEYS, ON_SHELF, ALLOWED, lambda words: iter([change(sound(words))]), segments
        )

    return publish_lists(here, work, "home")


def at(name: str, place: int | slice, value: Any) -> Change:
    """The list of the seventh user with something else in one place."""

    def change(made: Lists) -> Lists:
        getattr(made, name)[7, place] = value
        return made

    return change


def cut(made: Lists) -> Lists:
    return Lists(*(column[1:] for column in made))


def once_more(made: Lists) -> Lists:
    twice = Lists(*(np.concatenate([column, column[:1]]) for column in made))
    return twice._replace(subjects=np.array([*SUBJECT_KEYS.tolist(), "somebody else"]))


BROKEN: dict[str, Change] = {
    "empty_places": at("items", 2, -1),
    "gaps": at("items", 1, -1),
    "repeats": at("items", 1, 0),
    "not_on_sale": at("items", 1, N - 1),
    "unscored": at("scores", 1, np.nan),
    "unexplained": at("reasons", 1, -1),
    "subjects_without_list": cut,
    "lists_too_many": once_more,
}


@pytest.mark.parametrize("promise", BROKEN)
def test_a_broken_promise_refuses_the_batch_by_its_name(here: Installation, promise: str) -> None:
    before = publishing(here, "sound")
    with pytest.raises(BatchUnsoundError, match=rf"{promise} \(.*Readers keep the batch before") as refused:
        publishing(here, "broken", BROKEN[promise])
    ledger = select(recommendation_batches.c.status, recommendation_batches.c.detail)
    with here.engine.connect() as connection:
        assert batch_state.live_batch(connection, "home") == before["batch_id"]
        row = connection.execute(ledger.where(recommendation_batches.c.run_key == "broken")).one()
    assert row == (batch_state.REFUSED, str(refused.value))
    assert tables(here.engine) == {before["batch_id"]}


def test_the_same_user_twice_is_no_batch(here: Installation) -> None:
    before = publishing(here, "sound")

    def double(made: Lists) -> Lists:
        return Lists(*(np.concatenate([column[:-1], column[:1]]) for column in made))

    with pytest.raises(BatchUnsoundError, match="a user has two lists"):
        publishing(here, "broken", double)
    with here.engine.connect() as connection:
        assert batch_state.live_batch(connection, "home") == before["batch_id"]
    assert tables(here.engine) == {before["batch_id"]}


def test_a_short_list_with_a_reason_is_sound(here: Installation) -> None:
    def shorter(made: Lists) -> Lists:
        made.items[7, 2:], made.reasons[7, 2:], made.short[7] = -1, -1, "nothing more"
        return made

    batch = publishing(here, "short", shorter)
    assert (batch["status"], batch["recommendations"]) == ("published", SUBJECTS * K - 1)
    assert batch["summary"]["short"] == {"nothing more": 1}


@pytest.mark.parametrize(
    ("overlap", "first", "fits"), [((0.5, 1), 2, False), ((0, 0.5), 0, False), ((0.3, 0.4), 2, True)]
)
def test_lists_change_no_more_and_no_less_than_the_placement_allows(
    here: Installation, overlap: tuple[float, float], first: int, fits: bool
) -> None:
    before = publishing(here, "before", overlap=overlap)

    def moved(made: Lists) -> Lists:
        return made._replace(items=made.items + np.int32(first))

    if fits:
        assert publishing(here, "after", moved, overlap=overlap)["summary"]["kept_from_before"] == 0.3333
        return
    with pytest.raises(BatchUnsoundError, match="mean_overlap"):
        publishing(here, "after", moved, overlap=overlap)
    with here.engine.connect() as connection:
        assert batch_state.live_batch(connection, "home") == before["batch_id"]


@pytest.mark.parametrize(
    ("promise", "harm"),
    [
        ("ragged_rows", "UPDATE {table} SET scores = scores[1:2] WHERE subject = 'u03'"),
        ("unstored", "UPDATE {table} SET items = items[1:1], scores = scores[1:1], reasons = reasons[1:1]"),
        ("unstored", "DELETE FROM {table} WHERE subject = 'u03'"),
    ],
)
def test_stored_lists_are_those_that_were_checked(here: Installation, promise: str, harm: str) -> None:
    entries = {key: [("i1", 2.0, "a"), ("i2", 1.0, "b"), ("i3", 0.5, "a")] for key in SUBJECT_KEYS.tolist()}
    claim, statistics = loaded(here.engine, entries, shelf()), ListStatistics(np.ones(3, dtype=bool))
    statistics.observe(coded(entries, 3)[0])
    no_items = np.empty(0), (0.0, 1.0)
    with here.engine.begin() as connection:
        assert check_lists(connection, claim.batch_id, "home", statistics, SUBJECTS, no_items)
        connection.execute(text(harm.format(table=f"recommendations_{claim.batch_id}")))
        with pytest.raises(BatchUnsoundError, match=promise):
            check_lists(connection, claim.batch_id, "home", statistics, SUBJECTS, no_items)
