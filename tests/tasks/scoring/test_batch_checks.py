"""Each promise of a batch broken once: it is refused by that name, and readers keep the batch before."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, select, text

from infra.database.schema.schema import recommendation_batches, users
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

SUBJECTS, K, N = 20, 3, 8
KEYS = np.array([f"u{n:02}" for n in range(SUBJECTS)])
GOODS = np.array([f"i{n}" for n in range(N)])
ALLOWED = np.arange(N) < N - 1
Change = Callable[[Lists], Lists]


@pytest.fixture
def store(installation: Installation) -> Installation:
    """Everybody agreed."""
    row = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
    with installation.engine.begin() as connection:
        connection.execute(insert(users), [{"user_key": key, **row} for key in KEYS.tolist()])
    return installation


def sound(words: TextCodes, first: int = 0) -> Lists:
    """Everybody is shown the same three items."""
    shown = np.tile(np.arange(first, first + K, dtype=np.int32), (SUBJECTS, 1))
    reasons = np.full((SUBJECTS, K), words.codes(["because"])[0], dtype=np.int32)
    scores = np.full((SUBJECTS, K), 0.5, dtype=np.float32)
    return Lists(np.arange(SUBJECTS), KEYS, shown, scores, reasons, np.full(SUBJECTS, "", dtype="U20"))


def publishing(here: Installation, run: str, change: Change = lambda made: made, **entries: Any) -> dict[str, Any]:
    segments = Segments(["all"], np.zeros(SUBJECTS, dtype=np.int64))
    placement = Placement(k=K, **entries)

    def work() -> Work:
        about = batch_state.BatchSpec("home", run, 1, "v1", K)
        return Work(placement, about, KEYS, GOODS, ALLOWED, lambda words: iter([change(sound(words))]), segments)

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
    return twice._replace(subjects=np.array([*KEYS.tolist(), "somebody else"]))


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
def test_a_broken_promise_refuses_the_batch_by_its_name(store: Installation, promise: str) -> None:
    before = publishing(store, "sound")
    with pytest.raises(BatchUnsoundError, match=rf"{promise} \(.*Readers keep the batch before") as refused:
        publishing(store, "broken", BROKEN[promise])
    ledger = select(recommendation_batches.c.status, recommendation_batches.c.detail)
    with store.engine.connect() as connection:
        assert batch_state.live_batch(connection, "home") == before["batch_id"]
        row = connection.execute(ledger.where(recommendation_batches.c.run_key == "broken")).one()
    assert row == (batch_state.REFUSED, str(refused.value))
    assert tables(store.engine) == {before["batch_id"]}


def test_the_same_user_twice_is_no_batch(store: Installation) -> None:
    before = publishing(store, "sound")

    def double(made: Lists) -> Lists:
        return Lists(*(np.concatenate([column[:-1], column[:1]]) for column in made))

    with pytest.raises(BatchUnsoundError, match="a user has two lists"):
        publishing(store, "broken", double)
    with store.engine.connect() as connection:
        assert batch_state.live_batch(connection, "home") == before["batch_id"]
    assert tables(store.engine) == {before["batch_id"]}


def test_a_short_list_with_a_reason_is_sound(store: Installation) -> None:
    def shorter(made: Lists) -> Lists:
        made.items[7, 2:], made.reasons[7, 2:], made.short[7] = -1, -1, "nothing more"
        return made

    batch = publishing(store, "short", shorter)
    assert (batch["status"], batch["recommendations"]) == ("published", SUBJECTS * K - 1)
    assert batch["summary"]["short"] == {"nothing more": 1}


@pytest.mark.parametrize(
    ("overlap", "first", "fits"), [((0.5, 1), 2, False), ((0, 0.5), 0, False), ((0.3, 0.4), 2, True)]
)
def test_lists_change_no_more_and_no_less_than_the_placement_allows(
    store: Installation, overlap: tuple[float, float], first: int, fits: bool
) -> None:
    before = publishing(store, "before", overlap=overlap)

    def moved(made: Lists) -> Lists:
        return made._replace(items=made.items + np.int32(first))

    if fits:
        assert publishing(store, "after", moved, overlap=overlap)["summary"]["kept_from_before"] == 0.3333
        return
    with pytest.raises(BatchUnsoundError, match="mean_overlap"):
        publishing(store, "after", moved, overlap=overlap)
    with store.engine.connect() as connection:
        assert batch_state.live_batch(connection, "home") == before["batch_id"]


@pytest.mark.parametrize(
    ("promise", "harm"),
    [
        ("ragged_rows", "UPDATE {table} SET scores = scores[1:2] WHERE subject = 'u03'"),
        ("unstored", "UPDATE {table} SET items = items[1:1], scores = scores[1:1], reasons = reasons[1:1]"),
        ("unstored", "DELETE FROM {table} WHERE subject = 'u03'"),
    ],
)
def test_stored_lists_are_those_that_were_checked(store: Installation, promise: str, harm: str) -> None:
    entries = {key: [("i1", 2.0, "a"), ("i2", 1.0, "b"), ("i3", 0.5, "a")] for key in KEYS.tolist()}
    claim, statistics = loaded(store.engine, entries, shelf()), ListStatistics(np.ones(3, dtype=bool))
    statistics.observe(coded(entries, 3)[0])
    no_items = np.empty(0), (0.0, 1.0)
    with store.engine.begin() as connection:
        assert check_lists(connection, claim.batch_id, "home", statistics, SUBJECTS, no_items)
        connection.execute(text(harm.format(table=f"recommendations_{claim.batch_id}")))
        with pytest.raises(BatchUnsoundError, match=promise):
            check_lists(connection, claim.batch_id, "home", statistics, SUBJECTS, no_items)
