from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, false, literal, select, text

from infra.database.bulk_copy import array, copy, insert_new, read_table, upsert
from infra.database.engine import engine

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


def test_copied_rows_go_with_their_transaction(connection: Connection, empty_database: str) -> None:
    copy(connection, "goods", ("id",), [("lost",)])
    connection.rollback()
    with engine(empty_database).connect() as other:
        assert other.execute(text("SELECT count(*) FROM goods")).scalar() == 0


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
