"""Words of other systems for our event types, and for orders that are no sale."""

import re
from types import MappingProxyType
from typing import Final

from models.columns import EVENT_TYPES
from models.ingest.draft.names import plain

_WORDS: Final = MappingProxyType(
    {
        "purchase": "purchase purchased buy bought order ordered transaction sale sold paid checkout_completed "
        "order_completed completed_order kauf bestellung achat compra",
        "view": "view viewed page_view pageview product_view product_viewed view_item detail_view visit visited open "
        "opened detail pdp ansicht vue vista",
        "click": "click clicked product_click product_clicked select_item tap tapped klick clic",
        "add_to_cart": "add_to_cart addtocart cart added_to_cart add_to_basket basket product_added cart_add "
        "add_cart warenkorb",
        "remove_from_cart": "remove_from_cart removefromcart removed_from_cart product_removed cart_remove",
        "wishlist": "wishlist add_to_wishlist addtowishlist favorite favourite favorited bookmark save saved "
        "merkzettel",
        "refund": "refund refunded return returned order_refunded cancellation cancelled canceled retoure "
        "storno gutschrift",
        "impression": "impression impressions shown displayed view_item_list list_view product_list_viewed",
        "consume": "play played watch watched read listen listened stream streamed consume consumed",
        "rating": "rating rate rated review reviewed stars",
        "like": "like liked upvote thumbs_up",
        "dislike": "dislike disliked downvote thumbs_down",
    }
)
_TYPES: Final = {word: kind for kind, words in _WORDS.items() for word in words.split()}

_CANCELLED: Final = re.compile(
    "(cancell?ed|cancell?ation|voided|annulled|storno|storniert|stornovan[aeoy]|stornowan[aeoy]|zrusen[aeoy]|"
    "anulowan[aeoy]|annule|annulee|annulation|cancelad[ao]|anulad[ao]|annullat[aeo]|geannuleerd|avbruten|avbrutet|"
    r"makulerad|iptal|abgebrochen)(_\w+)?"
)
_OTHER_STATES: Final = re.compile(
    "failed|refunded|pending|on_hold|draft|checkout_draft|trash|abandoned|expired|rejected|declined|unpaid|returned|"
    "fehlgeschlagen|erstattet|retourniert|unbezahlt|abgelehnt|nezaplacen[aeoy]|vracen[aeoy]|odmitnut[aeoy]|"
    "nieoplacon[aey]|zwrocon[aey]|odrzucon[aey]|rembourse|remboursee|retourne|retournee|impaye|impayee|refuse|refusee|"
    "reembolsad[ao]|devuelt[ao]|devolvid[ao]|rechazad[ao]|recusad[ao]|rimborsat[ao]|reso|resa|rifiutat[ao]|"
    "non_pagat[ao]|terugbetaald|geretourneerd|onbetaald|aterbetald|returnerad|obetald|iade|iade_edildi|odenmedi"
)


def is_no_sale(state: str) -> bool:
    """Return whether an order in this state is no purchase: it was cancelled, sent back or not paid."""
    return bool(_CANCELLED.fullmatch(plain(state)) or _OTHER_STATES.fullmatch(plain(state)))


def event_type_of(word: str) -> str | None:
    """Return our event type for a word of another system, or None for a word that is not known."""
    known = re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word.strip())).strip("_").lower()
    return known if known in EVENT_TYPES else _TYPES.get(known)
