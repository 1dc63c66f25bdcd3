"""Usual names of columns are known in the languages that the documentation lists."""

import pyarrow as pa
import pytest

from models.ingest.draft.parts import Part
from models.ingest.draft.roles import times_of
from models.ingest.draft.samples import Sample
from models.ingest.draft.vocabulary import PERSONAL, TRAITS, event_type_of, is_no_sale, plain, rank

ROLES = ("user", "item", "order", "time", "quantity", "price")
HEADERS = {
    "Polish": ("Nr klienta", "Kod towaru", "Numer zamówienia", "Data zamówienia", "Ilość", "Cena brutto"),
    "French": ("N° client", "Code article", "Numéro de commande", "Date de commande", "Quantité", "Prix TTC"),
    "Italian": ("Codice cliente", "Codice articolo", "Numero ordine", "Data ordine", "Quantità", "Prezzo unitario"),
    "Spanish": ("Código cliente", "Código de producto", "Número de pedido", "Fecha", "Cantidad", "Precio unitario"),
    "Portuguese": ("Código do cliente", "Código do produto", "Número do pedido", "Data do pedido", "Qtd", "Preço"),
    "Dutch": ("Klantnummer", "Artikelnummer", "Bestelling nummer", "Datum", "Aantal", "Prijs"),
    "Turkish": ("Müşteri No", "Ürün Kodu", "Sipariş No", "Sipariş Tarihi", "Adet", "Birim Fiyat"),
    "Czech": ("Číslo zákazníka", "Kód zboží", "Číslo objednávky", "Datum objednávky", "Množství", "Cena"),
    "Swedish": ("Kundnummer", "Artikelnummer", "Ordernummer", "Orderdatum", "Antal", "Pris"),
}


@pytest.mark.parametrize("language", HEADERS)
def test_the_columns_of_orders_are_known(language: str) -> None:
    unknown = [name for name, role in zip(HEADERS[language], ROLES, strict=True) if rank(name, role) is None]
    assert unknown == []


@pytest.mark.parametrize(
    ("name", "role"), [("user_id:token", "user"), ("item_id:token", "item"), ("timestamp:float", "time")]
)
def test_a_type_after_the_name_as_in_files_of_recbole_does_not_hide_the_column(name: str, role: str) -> None:
    assert rank(name, role) == rank(name.partition(":")[0], role) is not None


@pytest.mark.parametrize("name", ["Imię i nazwisko", "Nom", "Cognome", "Apellidos", "Jméno", "Efternamn", "Ulica"])
def test_names_and_addresses_of_people_are_personal(name: str) -> None:
    assert PERSONAL.search(plain(name))


@pytest.mark.parametrize("name", ["Miasto", "Ville", "Città", "Ciudad", "Şehir", "Město", "Kön"])
def test_cities_and_genders_are_traits(name: str) -> None:
    assert TRAITS.search(plain(name))


PRICES = (
    "unit price incl. VAT",
    "Stückpreis inkl. MwSt.",
    "Prijs per stuk incl. btw",
    "Birim Fiyat (KDV dahil)",
    "Jednotková cena bez DPH",
)


WORDS = {
    "listing_view": "view",
    "read_article": "consume",
    "offerClick": "click",
    "product_removed": "remove_from_cart",
    "view_item_list": "impression",
    "add_to_bag": "add_to_cart",
    "listing": None,
    "listing_search": None,
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_action_is_known_with_the_kind_of_item_that_it_names(word: str) -> None:
    assert event_type_of(word) == WORDS[word]


@pytest.mark.parametrize("name", PRICES)
def test_a_price_of_one_piece_is_known_under_a_longer_name(name: str) -> None:
    assert rank(name, "price") is not None


@pytest.mark.parametrize("name", ["Customer VAT", "Preisgruppe", "Shipping price", "Total price incl. VAT"])
def test_other_words_beside_a_price_or_tax_are_no_price_of_a_piece(name: str) -> None:
    assert rank(name, "price") is None


@pytest.mark.parametrize("state", ["Geannuleerd", "anulada por el cliente", "Zwrócone", "Rimborsato", "İptal edildi"])
def test_states_of_orders_that_are_no_sale_are_known(state: str) -> None:
    assert is_no_sale(state)


@pytest.mark.parametrize("state", ["odesláno", "non annullato", "pending shipment", "livrée", "partially_refunded"])
def test_other_states_are_sales(state: str) -> None:
    assert not is_no_sale(state)


def drafted(*cells: str) -> tuple[str | list[str] | None, str]:
    part = Part("events", Sample(("a.csv",), pa.table({"at": list(cells)}), ";"))
    return part.time_format("at"), "".join(line.note for line in part.lines)


def test_a_column_of_two_formats_states_both_the_usual_one_first() -> None:
    usual, other = [f"{day}.06.2025 10:07" for day in range(10, 30)], ["2025-06-13 10:07:21", "2025-06-14 11:00:00"]

    assert drafted(*usual, *other) == (["%d.%m.%Y %H:%M", "%Y-%m-%d %H:%M:%S"], "tried in order")
    assert drafted(*usual) == ("%d.%m.%Y %H:%M", "")
    assert drafted(*other) == (None, "")


def test_a_stray_word_among_times_adds_no_format() -> None:
    assert drafted(*(f"2025-06-{day}" for day in range(10, 30)), "soon") == (None, "")


def test_days_without_zeros_and_with_blanks_between_are_times() -> None:
    czech = [f"{day}. 6. 2025 07:47" for day in range(1, 28)]

    assert drafted(*czech) == ("%d. %m. %Y %H:%M", "")
    assert drafted(*(one.replace(". ", ".") for one in czech)) == ("%d.%m.%Y %H:%M", "")
    assert times_of(Sample(("a.csv",), pa.table({"kdy": [*czech, *["2025-06-13 10:07:21"] * 9]})))
