"""Lists one step back, with everybody in them who may still have one."""

from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, text, update

from infra.database.schema.schema import placements, suppressions, users
from infra.installation import Installation
from infra.locks import LockHeldError, locked
from models.errors import TailorbirdError
from tasks.scoring import batch_state
from tasks.scoring.roll_back import roll_back_lists, roll_back_model
from tests.published import published, shelf

KEYS = ("ann", "bob", "cleo")
SHOWN = text("SELECT user_key, item_id FROM current_recommendations ORDER BY user_key, rank")


@pytest.fixture
def store(installation: Installation) -> Engine:
    """Three people, who all agreed."""
    row = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
    with installation.engine.begin() as connection:
        connection.execute(insert(users), [{"user_key": key, **row} for key in KEYS])
    return installation.engine


def show(store: Engine, run: str, version: int = 1, about: str = "user", placement: str = "home") -> int:
    """Lists of one item, which is named like the run."""
    return published(store, {key: [(run, 1.0, "a")] for key in KEYS}, shelf(run, placement, version, 1, about))


def back(placement: str = "home") -> dict[str, Any]:
    return roll_back_lists.fn(placement, "ann", "the new ones are odd")


def seen(store: Engine) -> list[tuple[str, str]]:
    with store.connect() as connection:
        return [tuple(row) for row in connection.execute(SHOWN)]


def test_the_lists_before_are_shown_again_and_it_is_written_down(store: Engine) -> None:
    first, second = show(store, "old", 1), show(store, "new", 2)
    result = back()
    stated = result.pop("next")
    counts = {"users": 3, "users_before": 3}
    assert result == {"from": second, "placement": "home", "batch_id": first, "model_version": 1} | counts
    assert "tailorbird score" in stated
    assert seen(store) == [(key, "old") for key in KEYS]
    with store.connect() as connection:
        row = connection.execute(select(placements)).mappings().one()
    assert (row["previous_batch_id"], row["moved_by"]) == (second, "ann: the new ones are odd")


def test_a_user_who_left_or_withdrew_consent_is_not_in_the_lists_that_come_back(store: Engine) -> None:
    first = show(store, "old")
    show(store, "new")
    with store.begin() as connection:
        connection.execute(insert(suppressions).values(user_key="ann", reason="left"))
        connection.execute(update(users).where(users.c.user_key == "bob").values(consent=False))
    assert back()["users"] == 1
    with store.connect() as connection:
        rows = connection.execute(text(f"SELECT subject FROM recommendations WHERE batch_id = {first}"))
        assert rows.scalars().all() == ["cleo"]
        connection.rollback()
    with store.begin() as connection:
        connection.execute(update(users).values(consent=True))
    assert seen(store) == [("cleo", "old")]


def test_a_rollback_goes_as_far_as_batches_are_kept_and_is_refused_then(store: Engine) -> None:
    batches = [show(store, run) for run in ("a", "b", "c", "d")]
    batch_state.retire(store, "home")
    assert [back()["batch_id"], back()["batch_id"]] == [batches[2], batches[1]]
    with pytest.raises(TailorbirdError, match=f"No batch before {batches[1]} is kept for 'home'"):
        back()
    assert {item for _, item in seen(store)} == {"b"}


def test_a_batch_that_was_taken_back_once_is_not_gone_back_to(store: Engine) -> None:
    first = show(store, "old")
    bad = show(store, "bad")
    back()
    show(store, "fixed")
    with store.connect() as connection:
        row = connection.execute(select(placements)).mappings().one()
        assert batch_state.batch_row(connection, bad)["detail"] == "taken back by ann: the new ones are odd"
    assert (row["moved_by"], row["previous_batch_id"]) == (None, first)
    assert back()["batch_id"] == first


def test_lists_about_items_come_back_whole_and_never_in_place_of_lists_of_users(store: Engine) -> None:
    first = show(store, "old", about="item", placement="similar-items")
    show(store, "new", about="item", placement="similar-items")
    with store.begin() as connection:
        connection.execute(update(users).values(consent=False))
    result = back("similar-items")
    assert (result["batch_id"], result["users"]) == (first, 3)
    show(store, "of users", placement="similar-items")
    show(store, "about items again", about="item", placement="similar-items")
    assert back("similar-items")["batch_id"] == first


def test_without_a_reason_lists_or_a_batch_before_nothing_changes(store: Engine) -> None:
    live = show(store, "only")
    with pytest.raises(TailorbirdError, match="Say why"):
        roll_back_lists.fn("home", "ann", " ")
    with pytest.raises(TailorbirdError, match="Nothing is published in 'email'; placements with lists: home"):
        back("email")
    with pytest.raises(TailorbirdError, match="No batch before"):
        back()
    with store.connect() as connection:
        assert batch_state.live_batch(connection, "home") == live


def test_it_does_not_step_between_a_run_and_its_lists(store: Engine) -> None:
    show(store, "old")
    show(store, "new")
    with locked(store, batch_state.lock_name("home")), pytest.raises(LockHeldError):
        back()


@pytest.fixture
def promoted_store(stage: Any, store: Engine) -> Engine:
    """A shop whose second champion answers."""
    stage.promote()
    stage.promote("most_popular", 2)
    return store


def show_to(promoted_store: Engine, run: str, version: int, placement: str = "home") -> int:
    people = ("ann", "bob") if run == "new" else ("ann",)
    return published(
        promoted_store, {person: [("i1", 1.0, "a")] for person in people}, shelf(run, placement, version, 1)
    )


def test_more_placements_than_connections_go_back_together(promoted_store: Engine) -> None:
    names = [f"place-{n}" for n in range(20)]
    before = {name: show_to(promoted_store, "old", 1, name) for name in names}
    for name in names:
        show_to(promoted_store, "new", 2, name)
    entries = roll_back_model.fn("ann", "odd")
    assert (entries["from"], entries["to"], entries["batches"], entries["next"]) == (2, 1, before, None)
    assert entries["lists"] == {name: {"now": 1, "before": 2} for name in names}


def test_lists_that_were_taken_back_stay_so(promoted_store: Engine) -> None:
    first = show_to(promoted_store, "old", 1)
    show_to(promoted_store, "odd", 1)
    roll_back_lists.fn("home", "ann", "odd prices")
    show_to(promoted_store, "new", 2)
    assert roll_back_model.fn("ann", "odd too")["batches"] == {"home": first}
    with promoted_store.connect() as connection:
        assert batch_state.live_batch(connection, "home") == first
