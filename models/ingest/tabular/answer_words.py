"""Words of several languages that answer yes or no: about consent, and about stock."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from models.ingest.tabular.offers import STOCK_WORDS, stock_word

USUAL_YES: Final = frozenset(["true", "t", "yes", "y", "1", "given", "granted"])
"""What a mapping takes for consent without `consent_words`."""
YES: Final = USUAL_YES.union(
    ["ja", "oui", "si", "sí", "sim", "tak", "da", "ano", "áno", "igen"],
    ["subscribed", "accepted", "opt-in", "opted-in"],
)
NO: Final = frozenset(["false", "f", "no", "n", "0", "nein", "non", "não", "nie", "ne", "nem", "nee", "nej"]).union(
    ["denied", "refused", "unsubscribed", "rejected", "opt-out", "opted-out"]
)
FURTHER_STOCK: Final[Mapping[str, bool]] = MappingProxyType(
    dict.fromkeys(["ja", "oui", "si", "sí", "tak", "ano", "da", "sim"], True)
    | dict.fromkeys(["lieferbar", "verfügbar", "auf lager", "vorrätig", "en stock", "disponible", "disponibile"], True)
    | dict.fromkeys(["dostępny", "dostępne", "na stanie", "w magazynie", "skladem", "op voorraad", "i lager"], True)
    | dict.fromkeys(["nein", "non", "nie", "ne", "nee", "nej", "não", "nicht lieferbar", "nicht verfügbar"], False)
    | dict.fromkeys(["nicht auf lager", "nicht vorrätig", "ausverkauft", "vergriffen", "épuisé", "agotado"], False)
    | dict.fromkeys(["esaurito", "uitverkocht", "brak", "niedostępny", "niedostępne", "wyprzedane"], False)
    | dict.fromkeys(["wyprzedany", "vyprodáno", "slutsåld"], False)
)
"""Words of stock that a mapping has to state as `available_words`."""


def stock_answers(words: Iterable[str]) -> dict[str, bool]:
    """Return words of a column of stock with what they mean; one that is not known is taken for out of stock."""
    known = dict(STOCK_WORDS) | dict(FURTHER_STOCK)
    return {word: known.get(word, False) for word in dict.fromkeys(map(stock_word, words))}
