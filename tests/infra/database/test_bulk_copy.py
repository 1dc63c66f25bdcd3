from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, Text, false, literal, select, text

from infra.database.binary_copy import copy_binary, encoded
from infra.database.bulk_copy import array, copy, insert_new, read_table, upsert
from infra.database.engine import engine
from models.errors import TailorbirdError
from models.lists.ranked_lists import Lists

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
