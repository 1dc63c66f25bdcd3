from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.primitives.vocabulary import NO_INDEX, index_of, position_of, positions_of

WORDS = np.array(["", "a", "b", "É", "日本"])


@pytest.mark.parametrize("vocabulary", [WORDS, np.array(["b", "", "É", "a"]), WORDS[:0]], ids=["sorted", "any", "none"])
def test_few_words_many_and_those_of_arrow_are_found_alike(vocabulary: Any) -> None:
    few = np.array(["b", "zz", "", "日本", "É", "b", "longer than any"])
    places = [next((at for at, known in enumerate(vocabulary) if known == word), NO_INDEX) for word in few.tolist()]
    assert index_of(vocabulary, few).tolist() == places
    assert index_of(vocabulary, np.tile(few, 9)).tolist() == places * 9
    assert index_of(vocabulary, pa.array(few.tolist())).tolist() == places
    assert index_of(vocabulary, pa.chunked_array([few.tolist(), [None]], pa.string())).tolist() == [*places, NO_INDEX]


@pytest.mark.parametrize("word", ["a\0", "\0", "b\0\0"])
def test_a_word_that_ends_in_nul_is_another_word(word: str) -> None:
    assert position_of(WORDS, word) == NO_INDEX


def test_one_word_is_found_among_words_that_were_renamed() -> None:
    renamed = np.array(["b", "", "É", "a"])
    assert [position_of(renamed, word) for word in ("b", "", "É", "a", "c", "zz")] == [0, 1, 2, 3, -1, -1]


def test_many_words_are_found_in_their_order() -> None:
    keys = ["b", "zz", "a\0", "É", "", "b", "日本語です", "a"]
    assert positions_of(WORDS, keys).tolist() == [2, 3, 0, 2, 1]
    assert positions_of(WORDS, []).tolist() == positions_of(np.empty(0, dtype=np.str_), keys).tolist() == []
