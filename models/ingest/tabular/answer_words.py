"""List words of several languages that mean yes or no, about consent and about stock."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from models.ingest.tabular.transform import STOCK_WORDS, stock_word

_YES: Final = ("ja", "oui", "si", "sí", "sim", "tak", "da", "ano")
_NO: Final = ("nein", "non", "não", "nie", "ne", "nee", "nej")
USUAL_YES: Final = frozenset(["true", "t", "yes", "y", "1", "given", "granted"])
"""The words that mean consent if a mapping has no `consent_words`."""
YES: Final = USUAL_YES.union(
    _YES,
    ["áno", "igen", "subscribed", "accepted", "opt-in", "opted-in"],
)
NO: Final = frozenset(["false", "f", "no", "n", "0", "nem"]).union(
    _NO, ["denied", "refused", "unsubscribed", "rejected", "opt-out", "opted-out"]
)
FURTHER_STOCK: Final[Mapping[str, bool]] = MappingProxyType(
    dict.fromkeys(_YES, True)
    | dict.fromkeys(["lieferbar", "verfügbar", "auf lager", "vorrätig", "en stock", "disponible", "disponibile"], True)
    | dict.fromkeys(["dostępny", "dostępne", "na stanie", "w magazynie", "skladem", "op voorraad", "i lager"], True)
    | dict.fromkeys(["k dispozici", "dostupné", "dostupný", "skladom", "na sklade", "leverbaar", "beschikbaar"], True)
    | dict.fromkeys(["in magazzino", "em estoque", "disponível", "tillgänglig", "finns i lager", "mevcut", "var"], True)
    | dict.fromkeys(["stokta", "stokta var", "on order", "to order", "made to order", "auf bestellung"], True)
    | dict.fromkeys(["vorbestellbar", "na objednávku", "na zamówienie", "sur commande", "su ordinazione"], True)
    | dict.fromkeys(["bajo pedido", "sob encomenda", "op bestelling", "beställningsvara"], True)
    | dict.fromkeys([*_NO, "nicht lieferbar", "nicht verfügbar"], False)
    | dict.fromkeys(["nicht auf lager", "nicht vorrätig", "ausverkauft", "vergriffen", "épuisé", "agotado"], False)
    | dict.fromkeys(["esaurito", "uitverkocht", "brak", "niedostępny", "niedostępne", "wyprzedane"], False)
    | dict.fromkeys(["wyprzedany", "vyprodáno", "slutsåld", "není skladem", "nedostupné", "nedostupný"], False)
    | dict.fromkeys(["vypredané", "nicht mehr lieferbar", "rupture de stock", "en rupture", "indisponible"], False)
    | dict.fromkeys(["non disponible", "non disponibile", "sin stock", "no disponible", "sem estoque"], False)
    | dict.fromkeys(["esgotado", "indisponível", "brak w magazynie", "niet op voorraad", "niet leverbaar"], False)
    | dict.fromkeys(["niet beschikbaar", "slut", "slut i lager", "ej i lager", "tükendi", "stokta yok", "yok"], False)
)
"""Words of stock that a mapping has to state as `available_words`."""


_DELIVERY: Final = re.compile(
    "((lieferbar|lieferung|dodání|livraison|delivery|ships|available|dostawa|consegna|entrega|levering) )?"
    "((do|within|in|innerhalb|innerhalb von|za|binnen|inom|entro|en|em|w|w ciągu|dans|sous|ca|ca.) )?"
    r"\d+( ?(\u2013|až|bis|to|à|a|i|tot|till)? ?\d+)? ?"
    "(days?|tage?n?|werktagen?|den|dny|dnů|dní|dnu|dni|jours?|giorn[oi]|días?|dias?|dage?n|dagar|werkdagen|gün|"
    "weeks?|wochen?|týden|týdny|týdnů|tygodni[ae]?|semaines?|settiman[ae]|semanas?|week|weken|veckor|hafta|"
    "h|hours?|stunden|hodin|godzin|heures|ore|horas|uur|timmar|saat)"
)
"""A time of delivery: the item can be bought."""


def stock_meaning(word: str) -> bool | None:
    """Return whether a word, written as `stock_word` does, means in stock; None if it is not known."""
    known = STOCK_WORDS.get(word, FURTHER_STOCK.get(word))
    return True if known is None and _DELIVERY.fullmatch(word) else known


def stock_answers(words: Iterable[str]) -> tuple[dict[str, bool], list[str]]:
    """Return the known words of a column of stock with their meanings, and the unknown words."""
    meanings = {word: stock_meaning(word) for word in dict.fromkeys(map(stock_word, words))}
    known = {word: yes for word, yes in meanings.items() if yes is not None}
    return known, [word for word in meanings if word not in known]
