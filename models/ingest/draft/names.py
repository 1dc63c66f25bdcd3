"""List the usual names of columns, in some languages, by their role in a mapping."""

import re
from types import MappingProxyType
from typing import Final
from unicodedata import combining, normalize

_ID: Final = (
    "_?(id|ids|no|nr|nummer|number|num|key|code|ref|uid|uuid|numero|kennung|hash|numer|kod|kodu|cislo|codice|codigo|"
    "numarasi)"
)
_USER: Final = (
    "customer|cust|user|client|buyer|member|shopper|visitor|account|household|person|profile|subscriber|viewer|reader|"
    "kunde|kunden|besteller|kaeufer|benutzer|nutzer|cliente|klant|usuario|utilisateur|acheteur|konto|patron|"
    "klient|klienta|nabywca|odbiorca|uzytkownik|utente|acquirente|comprador|gebruiker|koper|m(ue|u)steri|kullanici|"
    "zakaznik|zakaznika|uzivatel|kund|koepare|anvaendare"
)
_ITEM: Final = (
    "product|prod|item|article|artikel|sku|variant|variation|stock|asin|isbn|ean|gtin|upc|content|movie|film|track|"
    "song|book|video|post|listing|lineitem|line_item|offer|produkt|prodotto|produit|producto|articulo|articolo|goods|"
    "towar|towaru|produktu|produto|artigo|(ue|u)r(ue|u)n|zbozi|vyrobek|vyrobku|vara"
)
_ORDER: Final = (
    "order|invoice|basket|cart|transaction|receipt|checkout|purchase|ticket|bon|bestel|bestell|bestellung|bestellungs|auftrag|"
    "auftrags|beleg|rechnung|rechnungs|commande|pedido|ordine|facture|factura|trans|sale|sales|"
    "zamowienie|zamowienia|paragon|faktura|faktury|fattura|scontrino|encomenda|fatura|bestelling|factuur|kassabon|"
    "siparis|fis|objednavka|objednavky|uctenka|kvitto"
)
_OF: Final = "(de_|des_|del_|der_|of_|di_|do_|da_|dell_|d_|van_)?"
_REF: Final = f"(id|ref|reference|no|n|nr|num|code|numero|nummer|numer|kod|codice|codigo|cislo)_{_OF}"
_TIME: Final = (
    "timestamp|time|date|datetime|datum|zeit|zeitpunkt|zeitstempel|at|on|ts|tag|uhrzeit|fecha|data|when|am|"
    "tarih|tarihi|tijdstip|tidpunkt|horodatage"
)
_MONEY: Final = "price|preis|cost|prix|precio|prezzo|prijs|vk|vkpreis|verkaufspreis|cena|preco|fiyat|fiyati|pris"
_PIECE: Final = (
    "(1_)?(unit|item|piece|pc|kus|ks|jednotku|stueck|stk|unite|l_unite|unidad|unidade|pezzo|pz|stuk|sztuke|szt|styck|st|"
    "adet)"
)
_EVENT: Final = (
    "event|action|interaction|ereignis|aktion|interaktion|aktivitaet|evento|azione|interazione|attivita|evenement|activite|"
    "accion|interaccion|actividad|acao|interacao|atividade|actie|gebeurtenis|interactie|activiteit|akcja|zdarzeni[ea]|"
    "interakcja|aktywnosc|czynnosc|akce|udalosti?|interakce|aktivita|haendelse|aktivitet|eylem|olay|islem|etkilesim"
)
_STATE: Final = "status|state|statut|estado|stato|stav|durum|durumu|situacao"
_AFTER_MONEY: Final = re.compile(
    r"(_(((incl|including|inkl|inclusive|with|without|ex|excl|excluding|exkl|s|bez|vcetne|con|sin|senza|com|sem|avec|"
    r"sans|hors|mit|ohne|zzgl|z|met|zonder|med|utan)_)?(vat|tax|gst|dph|mw_?st|ust|iva|tva|btw|moms|kdv)"
    r"(_(incl|inclus\w*|included|incluid[oa]|dahil|haric|escl|esclusa|excl|excluded))?|"
    r"((in|v|w|en|i)_)?(eur|usd|gbp|chf|czk|kc|pln|zl|sek|kr|try|tl|brl)|net|netto|gross|brutto|ttc|ht))+$"
)
"""The suffix of a price name about taxes and currency."""
MONEY: Final = re.compile(rf"(^|_)({_MONEY})(_|$)|price|preis|prijs|fiyat")
"""A name of any price."""
_PLACES: Final = "billing|shipping|customer|contact"
ROLES: Final = MappingProxyType(
    {
        "user": (
            rf"(({_USER})_?)+{_ID}|kd{_ID}",
            rf"({_USER})s?|{_USER}id",
            rf"(external|our|shop)_({_USER}){_ID}",
            rf"({_PLACES})_(e_?mail)|e_?mail(_address|_adresse)?(_({_PLACES}))?|({_USER})_e_?mail|mail",
            rf"{_REF}({_USER})s?|({_USER})_unique{_ID}",
            rf"\w*_?({_USER})_?\w*{_ID}",
            "uid|username|user_name",
        ),
        "device": ("device_id|anonymous_id|anon_id|cookie(_id)?|user_pseudo_id|visitor_cookie|browser_id",),
        "item": (
            rf"({_ITEM}|art){_ID}",
            rf"(lineitem|line_item|item|product|variant|artikel)_(sku|{_ITEM}){_ID}?",
            rf"(?!stock)({_ITEM})|stockcode",
            rf"{_REF}({_ITEM})s?|identifier_({_ITEM})",
            rf"\w*_?(product|article|artikel|sku)_?\w*{_ID}",
        ),
        "title": (
            rf"({_ITEM})_?(title|name|bezeichnung|titel|label)|lineitem_name|artikelbezeichnung|artikelname|produktname",
            "title|titel|bezeichnung|designation|titre|titulo",
            rf"name|nom|nombre|nome|naam|headline|nazwa|nazev|benaemning|(nazwa|nom|nombre|nome|nazev)_{_OF}({_ITEM})",
            rf"({_ITEM})(_?naam|_adi)|omschrijving|descrizione|descricao|descripcion|opis|popis",
            f"({_ITEM})?_?(description|desc|beschreibung|libelle)",
        ),
        "time": (
            rf"(event|occurred|interaction|action)_?({_TIME})|timestamp",
            rf"({_ORDER})_?({_TIME})|(ordered|purchased|bought)_({_TIME})|(invoice|purchase|order)date|bestelldatum",
            rf"created_?({_TIME})|(creation|erstell)_?({_TIME})|created|angelegt_am",
            rf"(paid|completed|processed|placed|date)_({_TIME}|created|paid)|{_TIME}",
            rf"(date|datum|fecha|data)_{_OF}({_ORDER})|\w+_(timestamp|date|datetime|datum)",
        ),
        "order": (
            rf"({_ORDER}){_ID}|({_ORDER})_(name|number)|{_REF}({_ORDER})",
            rf"{_ORDER}|session_?id|visit_?id|session",
            rf"(sales|original|orig|parent|source)_({_ORDER})(_?{_ID})?",
            "name",
        ),
        "line": (
            rf"(line|position|row|lineitem|pos|zeile|({_ORDER})_item|order_line|event|transaction){_ID}",
            "line|pos|position",
        ),
        "variant": (
            rf"(({_ITEM})_?)?(variant|variation|size|groesse|taille|talla|colou?r|farbe|couleur|option)({_ID}|_name)?",
        ),
        "event_id": (rf"(event|message|interaction|row|line|lineitem|line_item){_ID}", "id|uuid"),
        "quantity": (
            rf"(({_ITEM}|order|ordered|purchase)_)?(quantity|qty|menge|anzahl|stueck|stueckzahl|units|pieces)(_\w+)?",
            "qte|quantite|cantidad|quantita|aantal|count|number_of_items",
            "ilosc|sztuk|qta|quantidade|qtde?|adet|miktar|mnozstvi|pocet|antal",
        ),
        "price": (
            rf"(unit|piece|birim|einzel|stueck|styck|a|jednotkova|prodejni|verkoop|satis|item|lineitem|product|sku|net|sale|list|variant|selling)_?({_MONEY})"
            r"(_(eur|usd|gbp|chf|net|gross|netto|brutto))?",
            rf"({_MONEY})_(unitaire|unitario|unit|pro_stueck|einzeln|jednostkowa|jednotkova)(_\w+)?|regular_price|({_MONEY})(_(eur|usd|gbp|chf|net|gross|netto|brutto|per_unit|ttc|ht|pln))?|base_price",
            rf"({_MONEY})_(za|per|pro|par|por|al|a|je)_{_PIECE}|({_MONEY})_(prodejni|sprzedazy|de_vente|di_vendita|de_venta|"
            "de_venda)",
        ),
        "total": (
            r"(line|row|item|pos|position|lineitem|line_item|order_line)_?(total|amount|sum|value|revenue|subtotal)(_\w+)?",
            rf"(total|celkova|laczna|toplam|totaal)_?({_MONEY})|({_MONEY})_(total|totale|celkem|razem|laczna|totaal)",
            "sales_value|line_amount|gesamtpreis|zeilensumme|positionswert|extended_price|revenue|umsatz|spend|spent",
            "amount|value|betrag|summe|total|montant|importe|sales|wartosc|kwota|importo|totale|valor|bedrag|totaal|tutar|toplam|castka|celkem|belopp|summa|"
            "event_value|dwell_?(time|seconds)?|duration",
        ),
        "currency": (
            r"(\w+_)?(currency|waehrung|devise|moneda|valuta|waluta|divisa|moeda|mena|para_birimi|currency_code)(_code)?",
        ),
        "event_type": (
            rf"event_?(type|name)|interaction_?type|behaviou?r(_type)?|activity|({_EVENT})s?",
            rf"(typ|type|tipo|soort|rodzaj|druh)_{_OF}(l_)?({_EVENT})|({_EVENT})(s?_?typ(e|en)?|_turu|_tueru)",
            "type|kind|typ",
        ),
        "status": (
            rf"((order|payment|financial|bestell|bestel|zahlungs|platebni|{_ORDER})_?)?({_STATE})",
            rf"({_STATE}|stan)_{_OF}(la_|l_)?({_ORDER}|platby|payment|paiement|pago|pagamento|platnosci)",
        ),
        "category": (
            r"(product_?|item_?|main_?|haupt)?(category|categories|kategorie|kategorien|cat|categorie|categoria|kategoria|kategori)(_\w+)?",
            r"warengruppe|produktgruppe|sortiment|department|abteilung|product_(type|group)|genres?|rubrik|section",
            r"(sub_?category|unterkategorie|sub_?cat|subcat)(_\w+)?|type|collection|group",
        ),
        "brand": (
            "(product_)?(brand|marke|vendor|hersteller|manufacturer|marque|marca|merk|maker|marka|producent|znacka|vyrobce|varumaerke|fabricante|fabrikant)(_name)?|author",
        ),
        "available": (
            r"((product_?|item_?|variant_?|artikel_?)?(is_?)?(in_stock|available|availability|lieferbar|lieferbarkeit|"
            r"verfuegbar|verfuegbarkeit|auf_lager|vorraetig)|(is_)?active)(_?status)?",
            r"(product_?|item_?|variant_?)?(stock|inventory|lager|bestands|liefer)_?(status|state)",
            r"(stock|variant_inventory|"
            r"inventory|lager|stock_level)(_?(qty|quantity|menge|bestand))?|bestand",
            "dostupnost|dostupne|sklad|stav_skladu|(pocet_)?(ks_)?skladem|dostepnosc|stan_magazynu|disponibil(ite|idade?)|"
            "beschikbaarheid|leverbaarheid|op_voorraad|tillgaenglighet|i_lager|stok_durumu|estado_de_stock|"
            "stato_magazzino|lieferstatus|stan(_magazynowy)?|voorraad|estoque|existencias|giacenza|disponibil(e|ita)|stok|lagersaldo",
        ),
        "url": (r"(product_?|item_?)?(url|link|permalink|page)",),
        "image": (
            r"(product_?|item_?|main_?)?(image|picture|bild|photo|thumbnail|images|zdjecie|foto|imagen|immagine|imagem|afbeelding|resim|obrazek)(_?(src|url|link|urls))?",
        ),
        "rating": (
            rf"(({_ITEM}|user|review|customer)_)?(rating|stars|score)|star_rating|bewertung|sterne|note|hvezdicky|hodnoceni|"
            "pocet_hvezdicek|hviezdicky|ocena|gwiazdki|etoiles|stelle|valutazione|voto|valoracion|calificacion|estrellas|"
            "puntuacion|sterren|beoordeling|betyg|stjaernor|puan|yildiz|avaliacao|estrelas|nota",
        ),
        "placement": ("placement|slot|widget|shelf",),
        "position": ("position|item_position|list_position|rank",),
        "recommendation_id": ("recommendation_?id|reco_?id",),
        "consent": (
            r"(personali[sz]ation_|marketing_|tracking_|cookie_)?consent(_given)?|opt_?in|einwilligung|zustimmung|gdpr",
        ),
        "marketing": (r"(accepts_)?(email|e_?mail|sms|newsletter)?_?(marketing|newsletter|subscri\w+)(_\w+)?",),
        "consent_at": (rf"(consent|opt_?in|einwilligung)_?({_TIME})",),
        "updated_at": (rf"(updated|modified|last_?modified|changed|geaendert)(_?({_TIME}|am))?",),
        "session": (r"(user_)?(session|visit)_?(id|no|key)?",),
    }
)
PERSONAL: Final = re.compile(
    r"e_?mail|mail\b|phone|telefon|tel\b|fax|mobile|handy|street|strasse|address|adresse|zip|postal|plz|postcode|"
    r"first_?name|last_?name|sur_?name|vorname|nachname|full_?name|^name$|_name$|birth|geburt|password|iban|card|tax|vat|"
    r"\bip\b|latitude|longitude|note|notiz|comment|message|token|company|firma|"
    r"nazwisko|ulica|cognome|apellido|sobrenome|achternaam|prijmeni|soyad|efternamn|foernamn|prenom|straat|telefono|"
    r"(^|_)(imie|nom|nome|nombre|naam|jmeno|ad|adi|namn|rue|calle|via|rua|ulice|nip|pesel|indirizzo|endereco|adres)(_|$)"
)
"""Columns that must not become traits, unless they name a country or region."""
REGION: Final = re.compile(r"country|region|bundesland|province|\\bstate|_state|^land$|_land$")
TRAITS: Final = re.compile(
    r"country|land|region|state|province|bundesland|gender|sex|geschlecht|age|alter|segment|tier|plan|level|status|"
    r"group|gruppe|language|sprache|locale|loyalty|membership|channel|kanal|income|household|city|stadt|"
    r"(^|_)ort$|gebiet|kreis|kanton|jahrgang|"
    r"(^|_)(miasto|kraj|wojewodztwo|plec|ville|pays|sexe|citta|paese|sesso|ciudad|pais|sexo|cidade|stad|geslacht|"
    r"sehir|(ue|u)lke|cinsiyet|mesto|zeme|pohlavi|koen)(_|$)"
)
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
    for place, pattern in enumerate(ROLES[role]):
        if any(re.fullmatch(pattern, form) for form in forms):
            return place
    return None
