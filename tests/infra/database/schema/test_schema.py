import json

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from infra.database.engine import engine
from infra.database.schema.rules_schema import metadata
from infra.database.schema.schema import LEDGER, ingest_batches, ingest_chunks
from infra.database.schema.training_schema import trained_bundles


@pytest.fixture
def migrated(database: str) -> Engine:
    return engine(database)


def test_a_migrated_database_equals_the_declared_tables(migrated: Engine) -> None:
    options = {"include_schemas": True, "compare_type": True, "compare_server_default": True}
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, metadata)
    assert trained_bundles.name in metadata.tables
    assert [d for d in differences if getattr(d[-1], "name", "") != "alembic_version"] == []


def test_batches_and_chunks_count_what_the_ledger_counts() -> None:
    for table in (ingest_batches, ingest_chunks):
        assert set(LEDGER) <= set(table.c.keys())


def test_a_migration_can_be_taken_back(migrated: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "infra.database:migrations")
    with migrated.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    found = inspect(migrated)
    assert found.get_table_names() == ["alembic_version"]
    assert not {"identity", "optuna"} & set(found.get_schema_names())


def test_reviews_and_promotions_from_before_digests_stay_and_have_none(migrated: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "infra.database:migrations")
    review = "INSERT INTO reviews (dataset_version, model_version, passed, gate) VALUES ('v1', 3, true, '[]')"
    promotion = (
        "INSERT INTO promotions (follows, model_version, kind, dataset_version, metrics, bundle, digest, "
        "actor, reason) VALUES (0, 2, 'als', 'v1', '{}', '/b', 'abc', 'ann', 'fine')"
    )
    with migrated.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
        for statement in (review, promotion):
            connection.execute(text(statement))
        command.upgrade(config, "head")
    with migrated.connect() as connection:
        both = "SELECT reviews.digest, reviews.run_id, promotions.digest, promotions.run_id FROM reviews, promotions"
        assert connection.execute(text(both)).all() == [(None, None, "abc", None)]


def test_answers_that_wait_are_single_rows_before_they_had_a_group_and_single_rows_stay(migrated: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "infra.database:migrations")
    answers = {
        "recommendation_id": ["r1", "r2"], "placement": ["home", "mail"], "items": [["cup"], ["pan", "cup"]],
        "first_position": [1, 4], "user_key": ["ann", None], "session_key": [None, "phone"], "consent": [None, True],
        "batch_id": [7, None], "model_version": [3, None], "variant": [None, "b"], "propensity": [None, 0.5],
        "source": ["table", "live"], "shown_at": ["2026-11-01T10:00:00+00:00", "2026-11-01T10:00:01+00:00"],
    }  # fmt: skip
    group = (
        "INSERT INTO event_inbox (source, message_id, kind, key_version, payload, batch_id) "
        "VALUES ('api', 'g1', 'answers', 2, :payload, 'b1')"
    )
    rows = (
        "SELECT message_id, kind, user_key, session_key, key_version, consent, batch_id, payload, received_at::text "
        "FROM event_inbox ORDER BY inbox_id"
    )
    with migrated.begin() as connection:
        config.attributes["connection"] = connection
        connection.execute(text("SET LOCAL TimeZone = 'UTC'"))
        connection.execute(text(group), {"payload": json.dumps(answers)})
        command.downgrade(config, "0025")
        first, second = connection.execute(text(rows)).all()
        command.upgrade(config, "head")
        assert connection.execute(text(f"{rows}")).all() == [first, second]
        assert connection.execute(text("SELECT sum(messages) FROM event_inbox")).scalar_one() == 2
    about = {"placement": "home", "items": ["cup"], "first_position": 1, "batch_id": 7, "model_version": 3}
    about |= {"variant": None, "propensity": None, "source": "table"}
    assert tuple(first) == ("r1", "impressions", "ann", None, 2, None, "b1", about, "2026-11-01 10:00:00+00")
    assert tuple(second)[:7] == ("r2", "impressions", None, "phone", 2, True, "b1")


def test_answers_from_before_they_were_counted_are_counted(migrated: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "infra.database:migrations")
    answers = (
        "INSERT INTO served_answers (recommendation_id, placement, source, shown_at) SELECT 'r' || n, "
        "CASE WHEN n < 5 THEN 'home' ELSE 'mail' END, 'table', now() - n * interval '7 hours' "
        "FROM generate_series(1, 10) AS n"
    )
    with migrated.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0027")
        connection.execute(text(answers))
        command.upgrade(config, "head")
        counts = "SELECT placement, sum(answers) FROM answer_counts GROUP BY placement ORDER BY placement"
        assert connection.execute(text(counts)).all() == [("home", 4), ("mail", 2)]


def test_comments_of_item_columns_explain_stock_and_merchandise(migrated: Engine) -> None:
    comments = {column["name"]: column["comment"] for column in inspect(migrated).get_columns("items")}
    assert "in_stock" in comments["available"]
    assert "Empty means unknown" in comments["in_stock"]


def test_raw_ids_live_in_one_schema_of_their_own(migrated: Engine) -> None:
    with_raw_ids = text("SELECT table_schema, table_name FROM information_schema.columns WHERE column_name = 'user_id'")
    with migrated.connect() as connection:
        found = {tuple(row) for row in connection.execute(with_raw_ids)}
    assert found == {("identity", "users"), ("public", "recommendations_by_user_id")}
