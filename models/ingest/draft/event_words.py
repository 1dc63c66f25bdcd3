"""Translate the words of other systems: the event type column, event types, and orders that are no sale."""

import re
from collections.abc import Collection
from types import MappingProxyType
from typing import Final

from models.columns import EVENT_TYPES
from models.ingest.draft.names import PERSONAL, REGION, ROLES, TRAITS, plain, rank
from models.ingest.draft.samples import Column, Sample

_WORDS: Final = MappingProxyType(
    {
        "purchase": "purchase purchased buy bought order ordered transaction sale sold paid checkout_completed "
        "order_completed completed_order kauf gekauft bestellung bestellt verkauf achat achete commande vente compra "
        "comprado pedido venta acquisto acquistato ordine vendita encomenda venda aankoop gekocht bestelling besteld "
        "verkoop zakup zakupiono kupiono zamowienie sprzedaz nakup nakoupeno koupeno zakoupeno objednavka objednano "
        "prodej koep koept bestaellning foersaeljning satin_alma satin_alindi siparis satis",
        "view": "view viewed page_view pageview product_view product_viewed view_item detail_view visit visited open "
        "opened detail pdp ansicht angesehen aufruf seitenaufruf produktansicht produktaufruf besuch vue vu "
        "consultation affichage visualisation visite vista visto visualizacion visita visualizzazione visualizzato "
        "visualizacao visualizado bekeken weergave paginaweergave bezoek wyswietlenie wyswietlono odslona obejrzenie "
        "wizyta zobrazeni zobrazeno prohlizeni prohlednuti navsteva visning visad sidvisning besoek goeruentueleme "
        "goeruentuelendi ziyaret inceleme",
        "click": "click clicked product_click product_clicked select_item tap tapped klick angeklickt clic clique "
        "cliccato klik geklikt aangeklikt klikniecie kliknieto kliknuti proklik klickad tiklama tiklandi",
        "add_to_cart": "add_to_cart addtocart cart added_to_cart add_to_basket basket product_added cart_add "
        "add_cart warenkorb in_den_warenkorb in_den_warenkorb_gelegt zum_warenkorb_hinzugefuegt panier ajout_au_panier "
        "ajoute_au_panier ajouter_au_panier ajout_panier mise_au_panier carrito anadir_al_carrito anadido_al_carrito "
        "agregar_al_carrito agregado_al_carrito carrello aggiunta_al_carrello aggiunto_al_carrello "
        "aggiungi_al_carrello carrinho adicionar_ao_carrinho adicionado_ao_carrinho adicao_ao_carrinho winkelwagen "
        "winkelmand in_winkelwagen in_winkelmand toegevoegd_aan_winkelwagen koszyk do_koszyka dodanie_do_koszyka "
        "dodano_do_koszyka kosik do_kosiku pridani_do_kosiku pridano_do_kosiku vlozeni_do_kosiku vlozeno_do_kosiku "
        "varukorg i_varukorgen lagd_i_varukorg lagd_i_varukorgen tillagd_i_varukorgen sepet sepete_ekleme "
        "sepete_ekle sepete_eklendi",
        "remove_from_cart": "remove_from_cart removefromcart removed_from_cart product_removed cart_remove "
        "aus_dem_warenkorb_entfernt retrait_du_panier retire_du_panier eliminado_del_carrito rimosso_dal_carrello "
        "rimozione_dal_carrello removido_do_carrinho verwijderd_uit_winkelwagen usuniecie_z_koszyka "
        "usunieto_z_koszyka odebrani_z_kosiku odebrano_z_kosiku odstraneni_z_kosiku borttagen_fran_varukorgen "
        "sepetten_cikarma sepetten_cikarildi",
        "wishlist": "wishlist add_to_wishlist addtowishlist favorite favourite favorited bookmark save saved "
        "merkzettel wunschliste merkliste favorit favori favoris liste_de_souhaits liste_d_envies lista_de_deseos "
        "favorito favoritos preferiti lista_dei_desideri lista_desideri lista_de_desejos verlanglijst wensenlijst "
        "favoriet lista_zyczen ulubione do_ulubionych dodanie_do_ulubionych seznam_prani oblibene do_oblibenych "
        "oenskelista istek_listesi favorilere_ekleme",
        "refund": "refund refunded return returned order_refunded cancellation cancelled canceled retoure "
        "storno gutschrift rueckgabe erstattung rueckerstattung remboursement rembourse retour reembolso devolucion "
        "rimborso reso devolucao terugbetaling zwrot vraceni vraceno vratka dobropis retur aterbetalning iade",
        "impression": "impression impressions shown displayed view_item_list list_view product_list_viewed",
        "consume": "play played watch watched read listen listened stream streamed consume consumed",
        "rating": "rating rate rated review reviewed stars bewertung bewertet rezension evaluation avis valoracion "
        "calificacion resena valutazione recensione voto avaliacao beoordeling recensie ocena oceniono opinia "
        "recenzja hodnoceni ohodnoceno recenze betyg recension puanlama degerlendirme",
        "like": "like liked upvote thumbs_up gefaellt_mir j_aime jaime me_gusta mi_piace gosto curtir curtida "
        "vind_ik_leuk lubie_to polubienie libi_se_mi libi_se to_se_mi_libi gilla gillar gillade begeni begendi",
        "dislike": "dislike disliked downvote thumbs_down",
    }
)


def _folded(word: str) -> str:
    """Return a word without accents; both spellings of an umlaut become equal."""
    return re.sub("([aou])e", r"\1", plain(word))


_TYPES: Final = {_folded(word): kind for kind, words in _WORDS.items() for word in words.split()}
_SALES: Final = frozenset(["purchase", "refund"])
_OTHER_ROLES: Final = tuple(role for role in ROLES if role != "event_type")
_MOST_TYPES: Final = 60
_FEW_WORDS: Final = 12
_NO_WORD: Final = re.compile(r"\d|^.?$|.{41}|[\n,;!?]|^(true|false|yes|no)$", re.IGNORECASE)
"""A number, a sign, a sentence or an answer."""
_MOSTLY: Final = 0.5

_CANCELLED: Final = re.compile(
    "(cancell?ed|cancell?ation|voided|annulled|storno|storniert|stornovan[aeoy]|stornowan[aeoy]|zrusen[aeoy]|"
    "anulowan[aeoy]|annule|annulee|annulation|cancelad[ao]|anulad[ao]|annullat[aeo]|geannuleerd|avbruten|avbrutet|"
    r"makulerad|iptal|abgebrochen)(_\w+)?"
)
_RETURNED: Final = re.compile(
    "refunded|returned|erstattet|retourniert|vracen[aeoy]|zwrocon[aey]|rembourse|remboursee|retourne|retournee|"
    "reembolsad[ao]|devuelt[ao]|devolvid[ao]|rimborsat[ao]|reso|resa|terugbetaald|geretourneerd|aterbetald|returnerad|"
    "iade|iade_edildi"
)
_NOT_PAID: Final = re.compile(
    "failed|pending|on_hold|draft|checkout_draft|trash|abandoned|expired|rejected|declined|unpaid|"
    "fehlgeschlagen|unbezahlt|abgelehnt|nezaplacen[aeoy]|odmitnut[aeoy]|nieoplacon[aey]|odrzucon[aey]|"
    "impaye|impayee|refuse|refusee|rechazad[ao]|recusad[ao]|rifiutat[ao]|non_pagat[ao]|onbetaald|obetald|odenmedi"
)


def is_no_sale(state: str, keeps_returned: bool = False) -> bool:
    """Return whether an order in this state is no purchase: it was cancelled, not paid, or sent back."""
    patterns = (_CANCELLED, _NOT_PAID) if keeps_returned else (_CANCELLED, _NOT_PAID, _RETURNED)
    return any(pattern.fullmatch(plain(state)) for pattern in patterns)


def event_type_of(word: str) -> str | None:
    """Return the canonical event type for a word of another system; None for an unknown word."""
    known = re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word.strip())).strip("_").lower()
    return known if known in EVENT_TYPES else _TYPES.get(_folded(word))


def event_words(sample: Sample, taken: Collection[str]) -> Column | None:
    """Return the column of event types: by its name and a known word, else by the words in most of its cells."""
    free = [one for one in sample.columns.values() if one.name not in taken and not one.is_number]
    by_name = sample.candidates("event_type")
    for one in by_name:
        if one in free and len(one.values) <= _MOST_TYPES and any(map(event_type_of, one.values)):
            return one
    return next((one for one in free if _is_unnamed(one) and _few_words(one) and _holds_event_words(one)), None)


def possible_event_words(sample: Sample, taken: Collection[str], *, sale: bool) -> Column | None:
    """Return the column that may hold event types in unknown words.

    A table that is a `sale` by other columns has many columns of few words, so only a name counts.
    """
    free = [one for one in sample.columns.values() if one.name not in taken and _few_words(one)]
    by_name = [one for one in sample.candidates("event_type") if one in free]
    return next(iter(by_name), None) or (None if sale else next(filter(_is_unnamed, free), None))


def _few_words(one: Column) -> bool:
    return 1 < len(one.values) <= _FEW_WORDS and not any(map(_NO_WORD.search, one.values))


def _is_unnamed(one: Column) -> bool:
    """Return whether the name does not describe the column, so its words may be event types."""
    name = plain(one.name)
    return all(rank(one.name, role) is None for role in _OTHER_ROLES) and not (
        TRAITS.search(name) or REGION.search(name) or PERSONAL.search(name)
    )


def _holds_event_words(one: Column) -> bool:
    """Return whether most cells are known event words, and not only words of sales, which order states have."""
    known = {word: kind for word in one.values if (kind := event_type_of(word))}
    if set(known.values()) <= _SALES:
        return False
    return sum(cell in known for cell in one.stated.to_pylist()) > _MOSTLY * len(one.stated)
