"""Lists that were published as arrays of text are seen unchanged once they are codes."""

from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

from infra.database.engine import engine, migrate

LISTS = {
    1: {"ann": [("tea", 3.5, "old")], "bob": [("cup", 2.5, "old")]},
    2: {
        "ann": [("tea", 3.5, "You buy this"), ("cup", 2.25, None), ("jug", 1.0, "You buy this")],
        "bob": [("jug", 0.5, 'O\'Neill: 100 % \\ "yes"'), ("tea", -1.5, "Popular")],
        "cleo": [("tea", 1.0, "Popular")],
        "dan": [],
    },
    3: {"ann": [("jug", 9.0, "mail")]},
}
"""By batch; 2 is live at home, 3 by e-mail; cleo withdrew her consent."""
_SEEN = "SELECT placement, user_key, rank, item_id, title, score, reason, model_version, batch_id"
SEEN = text(f"{_SEEN} FROM current_recommendations ORDER BY placement, user_key, rank")


def to(connection: Connection, revision: str, move: Any = command.upgrade) -> None:
    config = Config()
    config.set_main_option("script_location", "infra.database:migrations")
    config.attributes["connection"] = connection
    move(config, revision)


def fill(connection: Connection) -> None:
    """As the version before published: a table of a batch, filled, keyed, attached, pointed at."""
    columns = "user_key, attributes, consent, consent_source, batch_id"
    people = f"INSERT INTO users ({columns}) VALUES (:key, '{{}}', :yes, 'a', 'b')"
    for key in ("ann", "bob", "cleo", "dan"):
        connection.execute(text(people), {"key": key, "yes": key != "cleo"})
    columns = "item_id, title, attributes, available, batch_id"
    connection.execute(text(f"INSERT INTO items ({columns}) VALUES ('tea', 'Tea', '{{}}', true, 'b')"))
    connection.execute(text("INSERT INTO identity.users (user_key, user_id, key_version) VALUES ('ann', 'raw', 1)"))
    for batch_id, lists in LISTS.items():
        placement, table = "email" if batch_id == 3 else "home", f"recommendations_{batch_id}"
        connection.execute(
            text(
                "INSERT INTO recommendation_batches (placement, run_key, model_version, dataset_version, status, "
                "users, recommendations, published_at) "
                "VALUES (:placement, :run, :version, 'v1', 'published', 1, 1, now())"
            ),
            {"placement": placement, "run": f"run {batch_id}", "version": batch_id},
        )
        connection.execute(text(f"CREATE TABLE {table} (LIKE recommendations INCLUDING DEFAULTS)"))
        for key, entries in lists.items():
            row = {"batch": batch_id, "key": key}
            row |= {name: [entry[at] for entry in entries] for at, name in enumerate(("items", "scores", "reasons"))}
            arrays = "CAST(:items AS text[]), CAST(:scores AS real[]), CAST(:reasons AS text[])"
            connection.execute(text(f"INSERT INTO {table} VALUES (:batch, :key, {arrays})"), row)
        connection.execute(text(f"ALTER TABLE {table} ADD PRIMARY KEY (batch_id, user_key)"))
        connection.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT {table}_batch CHECK (batch_id = {batch_id})"))
        connection.execute(text(f"ALTER TABLE recommendations ATTACH PARTITION {table} FOR VALUES IN ({batch_id})"))
    for placement, batch_id in (("home", 2), ("email", 3)):
        pointer = "INSERT INTO placements (placement, batch_id, previous_batch_id) VALUES (:name, :batch, :before)"
        before = 1 if batch_id == 2 else None
        connection.execute(text(pointer), {"name": placement, "batch": batch_id, "before": before})


def seen(connection: Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(SEEN)]


@pytest.fixture
def store(empty_database: str) -> Engine:
    """A database of the version before, with three batches."""
    with engine(empty_database).begin() as connection:
        to(connection, "0005")
        fill(connection)
    return engine(empty_database)


def test_lists_published_as_texts_are_seen_unchanged_as_codes(store: Engine, empty_database: str) -> None:
    with store.connect() as connection:
        before = seen(connection)
    migrate(empty_database)
    with store.connect() as connection:
        assert seen(connection) == before
        by_id = connection.execute(text("SELECT item_id FROM recommendations_by_user_id WHERE user_id = 'raw'"))
        assert sorted(by_id.scalars()) == ["cup", "jug", "jug", "tea"]
    assert [row[3] for row in before if row[:2] == ("home", "ann")] == ["tea", "cup", "jug"]
    assert {row[1] for row in before} == {"ann", "bob"}


def test_kept_batches_can_still_be_shown_and_empty_lists_stay_lists(store: Engine, empty_database: str) -> None:
    migrate(empty_database)
    with store.begin() as connection:
        connection.execute(text("UPDATE placements SET batch_id = 1 WHERE placement = 'home'"))
        shown = [(row[1], row[3], row[6]) for row in seen(connection) if row[0] == "home"]
        assert shown == [("ann", "tea", "old"), ("bob", "cup", "old")]
        assert connection.execute(text("SELECT items FROM recommendations WHERE subject = 'dan'")).scalar() == []
        assert connection.execute(text("SELECT count(*) FROM recommendations")).scalar() == 7


def test_nothing_of_the_old_tables_is_left(store: Engine, empty_database: str) -> None:
    migrate(empty_database)
    with store.connect() as connection:
        names = connection.execute(text("SELECT relname FROM pg_class WHERE relname LIKE '%earlier%'")).scalars().all()
        assert names == []


def test_taken_back_the_tables_are_as_before_and_without_lists(store: Engine, empty_database: str) -> None:
    migrate(empty_database)
    with store.begin() as connection:
        to(connection, "0005", command.downgrade)
        assert seen(connection) == []
    migrate(empty_database)
    with store.connect() as connection:
        assert seen(connection) == []
