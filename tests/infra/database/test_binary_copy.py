from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text

from infra.database.binary_copy import copy_binary, encoded
from infra.database.engine import engine
from models.errors import TailorbirdError
from models.lists.ranked_lists import Lists

COLUMNS = ("batch_id", "subject", "items", "scores", "reasons", "short")
TABLE = "CREATE TABLE copied (batch_id bigint, subject text, items int[], scores real[], reasons int[], short text)"


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
