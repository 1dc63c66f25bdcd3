"""Recognise names of columns and words of other systems, in the languages of `vocabulary.toml`."""

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final
from unicodedata import combining, normalize

from models.columns import EVENT_TYPES
from models.ingest.placeholder_ids import PEOPLE, spellings
from models.ingest.tabular import mapping_keys
from models.ingest.tabular.transform import STOCK_WORDS, stock_word

_FILE: Final = tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text("utf-8"))


def _pattern(text: str) -> str:
    """Return a pattern without white space, with the words that it names as <user>."""
    return re.sub(r"<(\w+)>", lambda name: _pattern(_FILE["words"][name[1]]), re.sub(r"\s", "", text))


def _phrases(text: str) -> list[str]:
    """Return words that are separated by commas."""
    return [phrase.strip() for phrase in text.split(",")]


_ROLES: Final = {role: [_pattern(one) for one in names] for role, names in _FILE["roles"].items()}
"""Patterns that are compiled when they are used: an ingest needs none of them."""
MONEY, PERSONAL, TRAITS, _REGION, _RETURNS, _AFTER_MONEY = (
    re.compile(_pattern(_FILE["names"][name]))
    for name in ("money", "personal", "traits", "region", "returns", "after_money")
)
_CANCELLED, _NOT_PAID, _RETURNED = (
    re.compile(_pattern(_FILE["no_sale"][name])) for name in ("cancelled", "not_paid", "returned")
)
GUESTS: Final = (*PEOPLE, *spellings(_phrases(_FILE["users"]["guests"])))
"""User ids that stand for no user."""
USUAL_YES: Final = frozenset(mapping_keys.USUAL_YES)
YES: Final = USUAL_YES.union(_phrases(_FILE["answers"]["yes"]))
NO: Final = frozenset(_phrases(_FILE["answers"]["no"]))
_STOCK: Final = MappingProxyType(
    dict.fromkeys(_phrases(_FILE["stock"]["in_stock"]), True)
    | dict.fromkeys(_phrases(_FILE["stock"]["out_of_stock"]), False)
)
_BEFORE, _WITHIN, _BETWEEN, _UNITS = (
    "|".join(_phrases(_FILE["stock"][name])) for name in ("before_delivery", "within", "between", "units")
)
_DELIVERY: Final = re.compile(rf"(({_BEFORE}) )?(({_WITHIN}) )?\d+( ?(\u2013|{_BETWEEN})? ?\d+)? ?({_UNITS})")
SERVICES, NOTES = ("|".join(_phrases(_FILE["non_goods"][name])) for name in ("services", "notes"))
"""Regular expressions of words in titles that name a service, and a service or a note."""
_OF_ITEM: Final = _pattern("^(<item>)_(?=.)|(?<=.)_(<item>)$")
"""The kind of item before or after a word of action, as in `listing_view`."""
_SPELLED: Final = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "o", "ł": "l", "đ": "d", "\N{LATIN SMALL LETTER DOTLESS I}": "i"}
)
"""Letters that are spelled with other letters, and letters without a decomposition."""
_TYPE: Final = re.compile(r":(token|float)(_seq)?$")
"""The type of a column after its name, as RecBole's files have it."""


def plain(name: str) -> str:
    """Return a name of a column in lower case, with one underscore between its words."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", _TYPE.sub("", name.strip()))
    apart = words.lower().translate(_SPELLED).replace("#", " number ")
    bare = "".join(one for one in normalize("NFKD", apart) if not combining(one))
    return re.sub(r"[^a-z0-9]+", "_", bare).strip("_")


def rank(name: str, role: str) -> int | None:
    """Return the rank of the name for a role, 0 for the most usual; None if the name does not fit."""
    words = plain(name)
    forms = [words, words.replace("_", ""), re.sub(r"_(billing|shipping)$", "", words)]
    forms += [_AFTER_MONEY.sub("", words)] if role in ("price", "total") else []
    fits = (any(re.fullmatch(pattern, form) for form in forms) for pattern in _ROLES[role])
    return next((place for place, fit in enumerate(fits) if fit), None)


def is_unnamed(name: str) -> bool:
    """Return whether the name does not describe the column, so its words may be event types."""
    described = any(rank(name, role) is not None for role in _ROLES if role != "event_type")
    return not described and not any(one.search(plain(name)) for one in (TRAITS, _REGION, PERSONAL))


def is_personal(name: str) -> bool:
    """Return whether a column of this name must not become a trait."""
    return bool(PERSONAL.search(plain(name))) and not _REGION.search(plain(name))


def names_returns(*names: str) -> bool:
    """Return whether a name of a file or column is one of returns."""
    return any(_RETURNS.search(plain(name)) for name in names)


def _folded(word: str) -> str:
    """Return a word without accents; both spellings of an umlaut become equal."""
    return re.sub("([aou])e", r"\1", plain(word))


@cache
def _event_types() -> dict[str, str]:
    return {_folded(word): kind for kind, words in _FILE["event_types"].items() for word in words.split()}


def event_type_of(word: str) -> str | None:
    """Return the canonical event type for a word of another system; None for an unknown word."""
    known = re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word.strip())).strip("_").lower()
    kinds, folded = _event_types(), _folded(word)
    return known if known in EVENT_TYPES else kinds.get(folded, kinds.get(re.sub(_OF_ITEM, "", folded)))


def is_no_sale(state: str, keeps_returned: bool = False) -> bool:
    """Return whether an order in this state is no purchase: it was cancelled, not paid, or sent back."""
    patterns = (_CANCELLED, _NOT_PAID) if keeps_returned else (_CANCELLED, _NOT_PAID, _RETURNED)
    return any(pattern.fullmatch(plain(state)) for pattern in patterns)


def stock_meaning(word: str) -> bool | None:
    """Return whether a word, written as `stock_word` does, means in stock; None if it is not known."""
    known = STOCK_WORDS.get(word, _STOCK.get(word))
    return True if known is None and _DELIVERY.fullmatch(word) else known


def stock_answers(words: Iterable[str]) -> tuple[dict[str, bool], list[str]]:
    """Return the known words of a column of stock with their meanings, and the unknown words."""
    meanings = {word: stock_meaning(word) for word in dict.fromkeys(map(stock_word, words))}
    known = {word: yes for word, yes in meanings.items() if yes is not None}
    return known, [word for word in meanings if word not in known]
