"""The database of an earlier version has the same schema as a new one, once it is migrated."""

import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, insert, make_url, text

from infra.database.engine import engine, migrate
from infra.database.schema import ledger_schema, monitoring_schema, serving_schema, trust_schema  # noqa: F401
from infra.database.schema.schema import identities, metadata, users
from infra.services.postgres_user import binaries
from tests.published import published, shelf

_ARCHIVE: Final = Path(__file__).parents[2] / "flows" / "stored" / "installation.tar.xz"
_RENAMED: Final = (
    *((rf"\b{old}\b", new) for old, new in {"shelf": "list", "named": "list_item", "said": "list_reason"}.items()),
    (r"\btold\b", "entry"),
    (r" CONSTRAINT \w+_not_null1?(?= NOT NULL)", ""),
    (r"SEQUENCE NAME \S+", ""),
)
"""Names that tables and columns had once, in views and constraints: nobody uses them."""
_PARTITIONS: Final = "public.*_[0-9]*"
"""The tables of single batches."""
USERS = 300
ONE = "placement = 'home' AND user_id = 'raw 7'"
ASKED = {
    "by id": f"SELECT * FROM recommendations_by_user_id WHERE {ONE}",
    "several by id": "SELECT * FROM recommendations_by_user_id WHERE placement = 'home' "
    "AND user_id = ANY ('{raw 7, raw 8, raw 9}')",
    "still sold": f"SELECT * FROM recommendations_by_user_id JOIN items USING (item_id) WHERE {ONE} AND available",
    "by key": "SELECT * FROM current_recommendations WHERE placement = 'home' AND user_key = 'u7'",
}


def client(program: str, database: str, *options: str, given: str | None = None) -> str:
    """Run a program of PostgreSQL on a database and return its output."""
    address = make_url(database)
    login = {"PGHOST": str(address.host), "PGPORT": str(address.port), "PGUSER": str(address.username)}
    login |= {"PGPASSWORD": str(address.password), "PGDATABASE": str(address.database)}
    command = [str(binaries() / program), *options]
    ended = subprocess.run(command, env=os.environ | login, input=given, capture_output=True, text=True, check=True)
    return ended.stdout


def stored_dump() -> str:
    """Return the part of the stored dump that fills Tailorbird's own database."""
    with tarfile.open(_ARCHIVE) as archive:
        dump = archive.extractfile("./databases.sql")
        assert dump is not None
        parts = dump.read().decode().split("\\connect ")
    (own,) = (part for part in parts if part.startswith("tailorbird\n"))
    return own.partition("\n")[2]


def schema(database: str) -> list[str]:
    """Return the statements that make the schema, whatever the order of columns. `up` gives owners and rights."""
    hidden = ("--schema-only", "--no-owner", "--no-privileges", "--exclude-table", _PARTITIONS)
    lines = client("pg_dump", database, *hidden).splitlines()
    dump = "\n".join(line for line in lines if not line.startswith(("--", "SET ", "\\")))
    for old, new in _RENAMED:
        dump = re.sub(old, new, dump)
    statements = (statement.strip() for statement in dump.split(";\n"))
    return sorted(
        " ".join(sorted(re.split(r",?\n", statement)) if statement.startswith("CREATE TABLE") else statement.split())
        for statement in statements
    )


def test_a_stored_database_has_the_schema_of_a_new_one(empty_database: str, other_database: str) -> None:
    client("psql", empty_database, "--quiet", given=stored_dump())
    migrate(empty_database)
    assert schema(empty_database) == schema(other_database)
    with engine(empty_database).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM recommendations_by_user_id")).scalar_one() > 0


@pytest.fixture
def migrated(database: str) -> Engine:
    return engine(database)


def test_a_migrated_database_equals_the_declared_tables(migrated: Engine) -> None:
    options = {"include_schemas": True, "compare_type": True, "compare_server_default": True}
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, metadata)
    assert [d for d in differences if getattr(d[-1], "name", "") != "alembic_version"] == []


def test_raw_ids_live_in_one_schema_of_their_own(migrated: Engine) -> None:
    with_raw_ids = text("SELECT table_schema, table_name FROM information_schema.columns WHERE column_name = 'user_id'")
    with migrated.connect() as connection:
        found = {tuple(row) for row in connection.execute(with_raw_ids)}
    assert found == {("identity", "users"), ("public", "recommendations_by_user_id")}


@pytest.fixture
def reader(database: str) -> Iterator[Connection]:
    agreed = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
    with engine(database).begin() as connection:
        connection.execute(insert(users), [{"user_key": f"u{n}", **agreed} for n in range(USERS)])
        known = [{"user_key": f"u{n}", "user_id": f"raw {n}", "key_version": 1} for n in range(USERS)]
        connection.execute(insert(identities), known)
    for run in range(3):
        for placement in ("home", "email"):
            lists = {f"u{n}": [("i1", 1.0, "a")] for n in range(USERS)}
            published(engine(database), lists, shelf(f"run {run}", placement, 1, 1))
    with engine(database).connect() as connection:
        connection.execute(text("ANALYZE"))
        yield connection


def lists_read(plan: dict[str, Any]) -> float:
    """Rows of `recommendations` that a plan has gone through."""
    here = plan["Actual Rows"] * plan["Actual Loops"] if plan.get("Alias", "").startswith("list_") else 0
    return float(here + plan.get("Rows Removed by Filter", 0) + sum(map(lists_read, plan.get("Plans", []))))


@pytest.mark.parametrize("way", ASKED)
def test_one_users_list_is_found_without_reading_those_of_others(reader: Connection, way: str) -> None:
    for kind in ("seqscan", "bitmapscan"):  # of so few rows all would be read, however the view is written
        reader.execute(text(f"SET LOCAL enable_{kind} = off"))
    (plan,) = reader.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {ASKED[way]}")).scalar_one()
    assert lists_read(plan["Plan"]) < USERS / 10
