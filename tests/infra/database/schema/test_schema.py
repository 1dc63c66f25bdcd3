import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from infra.database.engine import engine
from infra.database.schema import ledger_schema, monitoring_schema, serving_schema, trust_schema  # noqa: F401
from infra.database.schema.schema import LEDGER, ingest_batches, ingest_chunks, metadata


@pytest.fixture
def migrated(database: str) -> Engine:
    return engine(database)


def test_a_migrated_database_equals_the_declared_tables(migrated: Engine) -> None:
    options = {"include_schemas": True, "compare_type": True, "compare_server_default": True}
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, metadata)
    assert [d for d in differences if getattr(d[-1], "name", "") != "alembic_version"] == []


def test_batches_and_chunks_count_what_the_ledger_counts() -> None:
    for table in (ingest_batches, ingest_chunks):
        assert set(LEDGER) <= set(table.c.keys())


def test_raw_ids_live_in_one_schema_of_their_own(migrated: Engine) -> None:
    with_raw_ids = text("SELECT table_schema, table_name FROM information_schema.columns WHERE column_name = 'user_id'")
    with migrated.connect() as connection:
        found = {tuple(row) for row in connection.execute(with_raw_ids)}
    assert found == {("identity", "users"), ("public", "recommendations_by_user_id")}
