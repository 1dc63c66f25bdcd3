"""Interpret the cells of a column of stock."""

import re
from typing import Final

from models.ingest.draft.samples import Column
from models.ingest.tabular.answer_words import NO, YES, stock_answers, stock_meaning
from models.ingest.tabular.numbers import EMPTY_CELLS
from models.ingest.tabular.transform import STOCK_WORDS, stock_word

_MOSTLY: Final = 0.5
_OTHER_MEANINGS: Final = frozenset(["active", "inactive", "none", "brak", "on sale", "var", "yok", "slut"])
"""Words of stock that columns of other data also have."""
_NUMBER: Final = r"-?\d+([.,]\d+)?"
_NO_PIECES: Final = r"-?0*([.,]0+)?|-\d.*"
_SCHEMA: Final = r"^https?://schema\.org/"


def stock_words(one: Column) -> tuple[dict[str, bool], list[str]]:
    """Return the words that `available_words` has to explain, and the words with an unknown meaning."""
    known, unknown = stock_answers(sorted(_words(one)))
    return {word: yes for word, yes in known.items() if word not in STOCK_WORDS}, unknown


def is_stock(one: Column) -> bool:
    """Return whether most cells of a column with a name of stock state what is in stock."""
    cells = one.stated.to_pylist()
    known = sum(re.fullmatch(_NUMBER, cell) is not None or stock_meaning(_word(cell)) is not None for cell in cells)
    return one.is_number or known > _MOSTLY * len(cells)


def has_stock_words(one: Column) -> bool:
    """Return whether the words alone show stock: all are known, one is out of stock, and one is no plain answer."""
    words = _words(one)
    meanings = {stock_meaning(word) for word in words}
    return meanings == {True, False} and bool(words - YES - NO - _OTHER_MEANINGS)


def share_out(one: Column) -> float:
    """Return the share of cells that are out of stock, by a word or by a number of pieces."""
    cells = one.stated.to_pylist()
    out = sum(stock_meaning(_word(cell)) is False or re.fullmatch(_NO_PIECES, cell) is not None for cell in cells)
    return out / max(1, len(cells))


def _words(one: Column) -> set[str]:
    return {_word(value) for value in one.values if value not in EMPTY_CELLS and not re.fullmatch(_NUMBER, value)}


def _word(value: str) -> str:
    return stock_word(re.sub(_SCHEMA, "", value.lower()))
