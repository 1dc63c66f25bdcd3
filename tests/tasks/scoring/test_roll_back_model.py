"""One champion back, with MLflow away: which lists come back with it."""

from typing import Any

import pytest
from sqlalchemy import Engine, insert

from infra.database.schema.schema import users
from tasks.scoring import batch_state
from tasks.scoring.roll_back import roll_back_lists, roll_back_model
from tests.published import published, shelf


@pytest.fixture
def store(stage: Any) -> Engine:
    """A shop whose second champion answers."""
    stage.promote()
    stage.promote("most_popular", 2)
    engine: Engine = stage.here.engine
    row = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
    with engine.begin() as connection:
        connection.execute(insert(users), [{"user_key": key, **row} for key in ("ann", "bob")])
    return engine


def show(store: Engine, run: str, version: int, placement: str = "home") -> int:
    people = ("ann", "bob") if run == "new" else ("ann",)
    return published(store, {person: [("i1", 1.0, "a")] for person in people}, shelf(run, placement, version, 1))


def test_more_placements_than_connections_go_back_together(store: Engine) -> None:
    names = [f"place-{n}" for n in range(20)]
    before = {name: show(store, "old", 1, name) for name in names}
    for name in names:
        show(store, "new", 2, name)
    entries = roll_back_model.fn("ann", "odd")
    assert (entries["from"], entries["to"], entries["batches"], entries["next"]) == (2, 1, before, None)
    assert entries["lists"] == {name: {"now": 1, "before": 2} for name in names}


def test_lists_that_were_taken_back_stay_so(store: Engine) -> None:
    first = show(store, "old", 1)
    show(store, "odd", 1)
    roll_back_lists.fn("home", "ann", "odd prices")
    show(store, "new", 2)
    assert roll_back_model.fn("ann", "odd too")["batches"] == {"home": first}
    with store.connect() as connection:
        assert batch_state.live_batch(connection, "home") == first
