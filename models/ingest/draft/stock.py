"""What the cells of a column of stock say."""

import re
from typing import Final

from models.ingest.draft.samples import Column
from models.ingest.tabular.answer_words import FURTHER_STOCK
from models.ingest.tabular.numbers import NOTHING
from models.ingest.tabular.offers import STOCK_WORDS, stock_word

_NUMBER: Final = r"-?\d+([.,]\d+)?"
_NO_PIECES: Final = r"-?0*([.,]0+)?|-\d.*"
_SCHEMA: Final = r"^https?://schema\.org/"


def stock_words(one: Column) -> dict[str, bool] | None:
    """Return the words that `available_words` has to explain; None if cells hold other words than those of stock."""
    words = {_word(value) for value in one.values if value not in NOTHING and not re.fullmatch(_NUMBER, value)}
    if not words <= STOCK_WORDS.keys() | FURTHER_STOCK.keys():
        return None
    return {word: FURTHER_STOCK[word] for word in sorted(words - STOCK_WORDS.keys())}


def share_out(one: Column) -> float:
    """Return the share of cells that are out of stock, by a word or by a number of pieces."""
    known = dict(STOCK_WORDS) | dict(FURTHER_STOCK)
    cells = one.stated.to_pylist()
    out = sum(known.get(_word(cell)) is False or re.fullmatch(_NO_PIECES, cell) is not None for cell in cells)
    return out / max(1, len(cells))


def _word(value: str) -> str:
    return stock_word(re.sub(_SCHEMA, "", value.lower()))
