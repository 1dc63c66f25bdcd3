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


def test_a_migrated_database_is_what_the_tables_say(migrated: Engine) -> None:
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


def test_columns_of_items_say_what_is_stock_and_what_is_merchandise(migrated: Engine) -> None:
    comments = {column["name"]: column["comment"] for column in inspect(migrated).get_columns("items")}
    assert "in_stock" in comments["available"]
    assert "Empty means unknown" in comments["in_stock"]


def test_raw_ids_live_in_one_schema_of_their_own(migrated: Engine) -> None:
    with_raw_ids = text("SELECT table_schema, table_name FROM information_schema.columns WHERE column_name = 'user_id'")
    with migrated.connect() as connection:
        found = {tuple(row) for row in connection.execute(with_raw_ids)}
    assert found == {("identity", "users"), ("public", "recommendations_by_user_id")}
