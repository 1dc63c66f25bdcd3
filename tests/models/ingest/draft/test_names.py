"""Usual names of columns are known in the languages that the documentation lists."""

import pytest

from models.ingest.draft.names import PERSONAL, TRAITS, plain, rank

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


@pytest.mark.parametrize("name", ["Imię i nazwisko", "Nom", "Cognome", "Apellidos", "Jméno", "Efternamn", "Ulica"])
def test_names_and_addresses_of_people_are_personal(name: str) -> None:
    assert PERSONAL.search(plain(name))


@pytest.mark.parametrize("name", ["Miasto", "Ville", "Città", "Ciudad", "Şehir", "Město", "Kön"])
def test_cities_and_genders_are_traits(name: str) -> None:
    assert TRAITS.search(plain(name))
