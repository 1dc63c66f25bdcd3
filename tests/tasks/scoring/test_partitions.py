"""Who is waited for before a pointer moves."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from sqlalchemy import Engine, create_engine, text

from infra.configuration import addresses
from infra.database.engine import engine
from models.datasets.cold_start import NewUsers
from models.lists.ranked_lists import BatchUsers
from tasks.scoring import batch_state, partitions
from tests.published import loaded, shelf

STORED = "SELECT user_key, hidden, due, clicks, traits FROM batch_users ORDER BY user_key"
KEYS = np.array(["ann", "bob", "eve", "joe"])
ITEMS = np.array(["a", "b", "c"])


@pytest.fixture
def other_role(database: str) -> Iterator[Engine]:
    """The database for a role that sees nothing of what others do."""
    with engine(database).begin() as connection:
        connection.execute(text("CREATE ROLE bystander"))
    made = create_engine(addresses.database(database), connect_args={"options": "-c role=bystander"})
    yield made
    made.dispose()
    with engine(database).begin() as connection:
        connection.execute(text("DROP ROLE bystander"))


def test_readers_of_other_roles_are_waited_for_too(database: str, other_role: Engine) -> None:
    def read() -> float:
        with engine(database).connect() as connection:
            connection.execute(text("SELECT count(*), pg_sleep(1) FROM recommendations"))
        return monotonic()

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        sleep(0.5)
        partitions.await_earlier_readers(other_role)
        waited_until = monotonic()
        assert waited_until > reader.result() - 0.1


def users() -> BatchUsers:
    hidden = sparse.csr_array(np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0], [1, 1, 1]], dtype=bool))
    traits = pa.table({"user_key": ["eve", "joe"], "age": [None, "30"], "town": [None, 'a "b"']})
    events = pa.table({"user_key": ["joe", "joe", "joe"], "item_id": ["c", "a", "c"]})
    new = NewUsers.of(traits, events, ITEMS)
    return BatchUsers.of(KEYS, hidden, None, new, np.array([False, False, True]))


def test_facts_of_a_batch_about_users_are_stored_as_codes_of_its_items(installation: Any) -> None:
    claim = loaded(installation.engine, {"ann": [("a", 1.0, "why")]}, shelf())
    with installation.engine.begin() as connection:
        partitions.write_users(connection, claim.batch_id, users())
        rows = connection.execute(text(STORED)).all()
    assert [tuple(row) for row in rows] == [
        ("", [2], [], [], None),
        ("ann", [1], [], [], None),
        ("joe", [0, 1, 2], [], [2, 0, 2], {"age": "30", "town": 'a "b"'}),
    ]


def test_users_without_consent_are_erased_with_their_lists(installation: Any) -> None:
    with installation.engine.begin() as connection:
        values = [{"key": key, "consent": key == "ann"} for key in KEYS.tolist()]
        connection.execute(
            text(
                "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
                "VALUES (:key, '{}', :consent, 'asked', 'b')"
            ),
            values,
        )
    claim = loaded(installation.engine, {"ann": [("a", 1.0, "why")], "joe": [("a", 1.0, "why")]}, shelf())
    with installation.engine.begin() as connection:
        partitions.write_users(connection, claim.batch_id, users())
        batch_state.publish(connection, "home", claim, None)
        assert [row.user_key for row in connection.execute(text(STORED))] == ["", "ann"]
    assert partitions.drop(installation.engine, claim.batch_id)
    with installation.engine.connect() as connection:
        assert not connection.execute(text(STORED)).all()
