import os
import re
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg2
import pyarrow as pa
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    false,
    insert,
    literal,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import OperationalError

from infra.database import engine as database
from infra.database.binary_copy import copy_binary, encoded
from infra.database.bulk_copy import array, copy, copy_table, insert_new, read_table, upsert
from infra.database.engine import SchemaError, engine, migrate, refuse_earlier_schema
from infra.database.schema import experiment_schema, ledger_schema, monitoring_schema, serving_schema, trust_schema  # noqa: F401
from infra.database.schema.schema import identities, metadata, users
from infra.outages import explain
from infra.services.postgres_user import binaries
from models.errors import TailorbirdError
from models.lists.ranked_lists import Lists
from tests.published import published, shelf

MIGRATE = "import os; from infra.database.engine import migrate; migrate(os.environ['DATABASE'])"
SECRET = "ann@mail.example"
HOSTILE = [
    "plain",
    "",
    "tab\tnew\nline\rreturn",
    r"back\slash \N \. \t",
    'it\'s "quoted"',
    "{braces},commas",
    "NULL",
    "naïve 雪 🐦 \u2028",
    " spaces ",
    None,
]
GOODS = Table("goods", MetaData(), Column("id", Text, primary_key=True), Column("price", Integer), Column("note", Text))
COLUMNS = ("batch_id", "subject", "items", "scores", "reasons", "short")
TABLE = "CREATE TABLE copied (batch_id bigint, subject text, items int[], scores real[], reasons int[], short text)"
_ARCHIVE: Final = Path(__file__).parents[1] / "flows" / "stored" / "installation.tar.xz"
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


def test_a_database_of_a_newer_version_is_refused_and_stays_as_it_is(empty_database: str) -> None:
    migrate(empty_database)
    with engine(empty_database).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match=r"^A newer version .*9999.* Update Tailorbird"):
        migrate(empty_database)
    with engine(empty_database).connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"


def test_a_database_of_an_earlier_version_is_refused_with_what_to_do(empty_database: str) -> None:
    migrate(empty_database)
    refuse_earlier_schema(empty_database)
    with engine(empty_database).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0032'"))
    for refuse in (refuse_earlier_schema, migrate):
        with pytest.raises(SchemaError, match=r"schema 0032.* Start the previous release once with `tailorbird up`"):
            refuse(empty_database)
    with engine(empty_database).connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0032"


def test_several_processes_may_migrate_at_once(empty_database: str) -> None:
    environment = os.environ | {"DATABASE": empty_database}
    command = [sys.executable, "-c", MIGRATE]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    with engine(empty_database).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM recommendations_by_user_id")).scalar() == 0


def test_a_server_that_takes_the_connection_and_stays_silent_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    monkeypatch.setattr(database, "_CONNECT_SECONDS", 2)  # the least that libpq knows
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"postgresql://u:p@127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(OperationalError) as error:
            engine(address).connect()
    assert str(explain(error.value)).startswith("The database went away or cannot be reached (")
    assert "timeout expired" in str(explain(error.value))


@pytest.fixture
def held(empty_database: str) -> Any:
    with engine(empty_database).connect() as connection:
        connection.execute(
            text("CREATE TABLE kept (key text PRIMARY KEY, number int CHECK (number < 9), code varchar(3))")
        )
        connection.execute(text("INSERT INTO kept VALUES (:key)"), {"key": SECRET})
        yield connection


def executing(statement: str, **values: Any) -> Callable[[Any], Any]:
    return lambda connection: connection.execute(text(statement), values)


def chain(error: BaseException | None) -> Iterator[str]:
    """The texts of an error and of all that led to it, as a log shows them."""
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


REFUSED = {
    "a key that is there": (executing("INSERT INTO kept VALUES (:key)", key=SECRET), "kept_pkey"),
    "no number": (executing("INSERT INTO kept VALUES ('a', CAST(:number AS int))", number=SECRET), "22P02"),
    "a long text": (executing("INSERT INTO kept VALUES ('a', 1, :code)", code=SECRET), "22001"),
    "a check": (executing("INSERT INTO kept VALUES (:key, 99)", key="other-" + SECRET), "kept_number_check"),
    "no key": (executing("INSERT INTO kept VALUES (NULL, 1, :code)", code="ann"), "key"),
    "a literal in the statement": (executing(f"SELECT nothing, '{SECRET}'"), "nothing"),
    "lines": (lambda c: copy(c, "kept", ["key", "number"], [("a", SECRET)]), "22P02"),
    "lines with a key that is there": (lambda c: copy(c, "kept", ["key"], [(SECRET,)]), "kept_pkey"),
    "a table": (lambda c: copy_table(c, "kept", pa.table({"key": ["a"], "number": [SECRET]})), "22P02"),
    "binary": (lambda c: copy_binary(c, "kept", ["key"], [b"\x00\x01\x00\x00\x00\x04ann\x00"]), "22021"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_a_statement_that_is_refused_names_the_fault_and_no_value(held: Any, refused: str) -> None:
    step, sign = REFUSED[refused]
    with pytest.raises(Exception) as raised:  # noqa: PT011, whichever client raises it
        step(held)
    shown = "".join(chain(raised.value)).partition("[SQL: SELECT nothing")[0]
    assert sign in shown
    assert "ann" not in shown


def test_the_kind_of_error_stays(held: Any) -> None:
    with pytest.raises(psycopg2.errors.UniqueViolation):
        copy(held, "kept", ["key"], [(SECRET,)])


@pytest.fixture
def connection(empty_database: str) -> Iterator[Connection]:
    with engine(empty_database).connect() as connection:
        connection.execute(text("CREATE TABLE kept (n int, word text, words text[])"))
        connection.execute(text("CREATE TABLE goods (id text PRIMARY KEY, price int, note text)"))
        connection.commit()
        yield connection


def test_hostile_text_comes_back_as_it_was(connection: Connection) -> None:
    assert copy(connection, "kept", ("n", "word"), enumerate(HOSTILE)) == len(HOSTILE)
    assert connection.execute(text("SELECT word FROM kept ORDER BY n")).scalars().all() == HOSTILE


def test_hostile_text_comes_back_from_arrays_too(connection: Connection) -> None:
    words = [word for word in HOSTILE if word is not None]
    lists = [words, [], *([word] for word in words)]
    written = [array(pa.array(texts, pa.string())) for texts in lists]
    copy(connection, "kept", ("n", "words"), enumerate(written))
    rows = connection.execute(text("SELECT words FROM kept ORDER BY n")).scalars().all()
    assert rows == lists


def test_an_existing_row_is_replaced_but_for_columns_with_an_own_rule(connection: Connection) -> None:
    names = ("id", "price", "note")
    assert upsert(connection, GOODS, names, [("a", 1, "first"), ("b", 2, None)]) == 2
    connection.commit()
    upsert(connection, GOODS, names, [("a", 9, "second"), ("c", 3, "new")], {"note": "goods.note"})
    rows = connection.execute(text("SELECT * FROM goods ORDER BY id")).all()
    assert rows == [("a", 9, "first"), ("b", 2, None), ("c", 3, "new")]


def test_a_piece_of_a_table_without_rows_writes_nothing(connection: Connection) -> None:
    rows = pa.table({"id": ["a"], "price": [1], "note": ["first"]})
    insert_new(connection, GOODS, pa.concat_tables([rows.slice(1), rows, rows.slice(1)]))
    assert connection.execute(text("SELECT * FROM goods")).all() == [("a", 1, "first")]


def test_a_row_that_is_there_stays_as_it_is_beside_new_ones(connection: Connection) -> None:
    insert_new(connection, GOODS, pa.table({"id": ["a"], "price": [1], "note": ["first"]}))
    rows = pa.table({"id": [*HOSTILE[1:-1], "a"], "price": [2] * 9, "note": [*HOSTILE[1:-1], "second"]})
    insert_new(connection, GOODS, rows)
    stored = dict(connection.execute(text("SELECT id, note FROM goods")).all())
    assert stored == {word: word for word in HOSTILE[1:-1]} | {"a": "first"}


def test_an_empty_text_and_none_at_all_are_two_things(connection: Connection) -> None:
    insert_new(connection, GOODS, pa.table({"id": ["a", "b"], "note": ["", None]}))
    assert connection.execute(text("SELECT note FROM goods ORDER BY id")).scalars().all() == ["", None]


def test_hostile_text_and_nulls_are_read_as_they_are(connection: Connection) -> None:
    table = Table("kept", MetaData(), Column("n", Integer), Column("word", Text))
    copy(connection, "kept", ("n", "word"), [*enumerate(HOSTILE), (None, "nameless")])
    kinds = {"n": pa.int64(), "word": pa.string()}
    rows = read_table(connection, select(table).order_by(table.c.n.nulls_last()), kinds)
    assert rows.to_pydict() == {"n": [*range(len(HOSTILE)), None], "word": [*HOSTILE, "nameless"]}
    words = select(table.c.word).where(table.c.word.in_(['100% "%(n)s"', *HOSTILE]) | table.c.word.is_(None))
    texts = read_table(connection, words.order_by(table.c.n), {"word": pa.string()})
    assert texts["word"].to_pylist() == HOSTILE


def test_flags_and_moments_are_read_and_a_query_may_find_nothing(connection: Connection) -> None:
    moment = datetime(2024, 6, 1, 10, 30, 0, 123456, UTC)
    statement = select(literal(True).label("yes"), literal(False).label("no"), literal(moment).label("at"))
    kinds = {"yes": pa.bool_(), "no": pa.bool_(), "at": pa.timestamp("us", tz="UTC")}
    assert read_table(connection, statement, kinds).to_pylist() == [{"yes": True, "no": False, "at": moment}]
    assert read_table(connection, statement.where(false()), kinds).schema == pa.schema(kinds)


@pytest.fixture
def store(empty_database: str) -> Engine:
    with engine(empty_database).begin() as connection:
        connection.execute(text(TABLE))
    return engine(empty_database)


def lists(subjects: list[str], lengths: list[int], short: list[str], k: int, seed: int = 0) -> Lists:
    random, m = np.random.default_rng(seed), len(subjects)
    there = np.arange(k) < np.array(lengths, dtype=int).reshape(-1, 1)
    codes = [np.where(there, random.integers(0, 2**31 - 1, (m, k)), -1).astype(np.int32) for _ in range(2)]
    scores = np.where(there, random.normal(size=(m, k)), -np.inf).astype(np.float32)
    return Lists(
        np.arange(m), np.array(subjects, dtype=np.str_), codes[0], scores, codes[1], np.array(short, dtype=np.str_)
    )


def stored(store: Engine, *parts: Lists) -> dict[str, Any]:
    with store.begin() as connection:
        copy_binary(connection, "copied", COLUMNS, (piece for part in parts for piece in encoded(7, part)))
        return {row.subject: row for row in connection.execute(text("SELECT * FROM copied"))}


def test_every_number_and_word_arrives_as_it_was(store: Engine) -> None:
    subjects = ["a" * 64, "b" * 64, "", "ü", "日本\tx\\N", "c"]
    given = lists(subjects, [5, 5, 3, 0, 1, 5], ["", "", "few", "none", "fèw", ""], 5)
    stored_lists = stored(store, given)
    assert stored_lists.keys() == set(subjects)
    for at, subject in enumerate(subjects):
        row, n = stored_lists[subject], int(given.lengths[at])
        assert (row.batch_id, row.items, row.reasons) == (
            7,
            given.items[at, :n].tolist(),
            given.reasons[at, :n].tolist(),
        )
        assert np.array_equal(np.array(row.scores, dtype=np.float32), given.scores[at, :n])
        assert row.short == (given.short[at] or None)


def test_an_error_while_pieces_are_made_is_raised_as_it_is_and_nothing_is_stored(store: Engine) -> None:
    def pieces() -> Iterator[bytes]:
        yield from encoded(7, lists(["a"], [2], [""], 2))
        raise TailorbirdError("no more items")

    with pytest.raises(TailorbirdError, match="no more items"), store.begin() as connection:
        copy_binary(connection, "copied", COLUMNS, pieces())
    assert stored(store) == {}


def test_many_pieces_and_no_pieces_are_rows_all_the_same(store: Engine) -> None:
    assert stored(store) == {}
    no_lists = lists([], [], [], 4)
    parts = [lists([f"{part} {n}" for n in range(3000)], [50] * 3000, [""] * 3000, 50, part) for part in range(3)]
    assert len(stored(store, no_lists, *parts)) == 9000


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
    assert found == {
        ("identity", "users"),
        ("identity", "privacy_subjects"),
        ("identity", "erasure_notices"),
        ("public", "recommendations_by_user_id"),
    }


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
