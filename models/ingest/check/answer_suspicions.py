"""Find words about stock and consent that a mapping does not explain, and suggest the key. Arrow in."""

from collections.abc import Iterable, Mapping
from typing import Final

import pyarrow.compute as pc

from models.ingest.check.suspicions import Suspicion
from models.ingest.draft.mapping_text import toml
from models.ingest.tabular.answer_words import NO, USUAL_YES, YES, stock_answers
from models.ingest.tabular.values import tidy
from models.primitives.arrow_types import ArrowColumn

_MOST_EXAMPLES: Final = 10
_MOST_WORDS: Final = 20
"""A column with more different words does not answer yes or no."""


def unread_stock(column: str, words: Mapping[str, int], stated: Mapping[str, bool]) -> Iterable[Suspicion]:
    """Yield the unknown `words` of a column of stock, with their counts.

    `stated` has the words that the mapping explains already.
    """
    if not words:
        return
    most = _most(words)
    message = (
        f"{sum(words.values()):,} answers of {column!r} (available) cannot be read: {_examples(words, most)}. "
        "Their items are accepted and count as in stock. State the meaning of each word, true or false:"
    )
    known, unknown = stock_answers(most)
    comment = f"  # to decide, in stock until then: {', '.join(map(toml, unknown))}" if unknown else ""
    yield Suspicion("stock_words_unknown", message, f"available_words = {toml({**stated, **known})}{comment}")


def unread_consent(column: str, cells: ArrowColumn, stated: Iterable[str]) -> Iterable[Suspicion]:
    """Yield the words of a column of consent that count as no and may mean yes."""
    yes = {word.strip().lower() for word in stated}
    counted = pc.value_counts(pc.utf8_lower(tidy(cells)).drop_null()).to_pylist()
    words = {one["values"]: one["counts"] for one in counted if one["values"] not in yes}
    doubtful = {word: count for word, count in words.items() if word not in NO}
    if not doubtful or len(words) > _MOST_WORDS:
        return
    most = _most(doubtful)
    message = f"These words of {column!r} (consent) count as no: {_examples(doubtful, most)}. If one means yes, write:"
    agreeing = [word for word in most if word in YES] or most[:1]
    explicit = [] if yes == USUAL_YES else sorted(yes)
    yield Suspicion("consent_words_unknown", message, f"consent_words = {toml([*explicit, *agreeing])}")


def _most(words: Mapping[str, int]) -> list[str]:
    return sorted(words, key=lambda word: (-words[word], word))[:_MOST_EXAMPLES]


def _examples(words: Mapping[str, int], most: Iterable[str]) -> str:
    return ", ".join(f"{word!r} ({words[word]:,})" for word in most)
