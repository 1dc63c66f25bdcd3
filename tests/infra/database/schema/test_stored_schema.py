"""The database of an earlier version has the same schema as a new one, once it is migrated."""

import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Final

from sqlalchemy import make_url, text

from infra.database.engine import engine, migrate
from infra.services.postgres_user import binaries

_ARCHIVE: Final = Path(__file__).parents[3] / "flows" / "stored" / "installation.tar.xz"
_RENAMED: Final = (
    *((rf"\b{old}\b", new) for old, new in {"shelf": "list", "named": "list_item", "said": "list_reason"}.items()),
    (r"\btold\b", "entry"),
    (r" CONSTRAINT \w+_not_null1?(?= NOT NULL)", ""),
    (r"SEQUENCE NAME \S+", ""),
)
"""Names that tables and columns had once, in views and constraints: nobody uses them."""
_PARTITIONS: Final = "public.*_[0-9]*"
"""The tables of single batches."""


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
