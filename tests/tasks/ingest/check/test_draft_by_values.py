"""Columns are guessed from their values, names and joins, in any language and file, and never ignored silently."""

import json
import random
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from models.errors import TailorbirdError
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.check.draft_mapping import draft_mapping

FINNISH: Final = (
    ["Tilausnro", "Ajankohta", "Ostaja", "Tuotekoodi", "Kpl", "Hinta"],
    ["Viivakoodi", "Tuotekoodi", "Nimike", "Ryhmä", "Hinta", "Lisätty"],
    ["Sähköposti", "Ostajanro", "Nimi", "Paikka", "Alkaen"],
)
GREEK: Final = (
    ["Αριθμός", "Ημερομηνία", "Πελάτης", "Κωδικός", "Τεμάχια", "Τιμή"],
    ["Barcode", "Κωδικός", "Περιγραφή", "Ομάδα", "Τιμή", "Προσθήκη"],
    ["Διεύθυνση", "Κωδικός πελάτη", "Όνομα", "Πόλη", "Από"],
)
POLISH: Final = (
    ["Numer zamówienia", "Data zamówienia", "Klient", "Symbol", "Ilość", "Cena brutto"],
    ["EAN", "Symbol", "Nazwa towaru", "Kategoria", "Cena", "Data dodania"],
    ["E-mail", "Nr klienta", "Imię i nazwisko", "Miasto", "Klient od"],
)
LETTERS: Final = (["a", "b", "c", "d", "e", "f"], ["g", "h", "i", "j", "k", "l"], ["m", "n", "o", "p", "q"])
Headers = tuple[list[str], list[str], list[str]]


def order_lines(folder: Path, repeats: int) -> Path:
    """Write order lines of which every so many repeat the item of the line before, at another price."""
    rows = [
        f"O{n // 4},C{n // 4 % 30},P{n % 4 - (n % repeats == 1)},{n % 3 + 1},"
        f"{'on request' if n == 9 else n + 0.5},2024-03-{n // 4 % 28 + 1:02}"
        for n in range(400)
    ]
    file = folder / "orders.csv"
    file.write_text("\n".join(["order_no,customer,sku,qty,price,ordered_at", *rows]))
    return file


@pytest.mark.parametrize("repeats", [100, 4])
def test_a_price_does_not_identify_a_row_and_an_unreadable_one_has_its_own_rule(repeats: int, tmp_path: Path) -> None:
    text = draft_mapping([str(order_lines(tmp_path, repeats))], "shop", "given", "terms").text
    events = tomllib.loads(text)["events"]
    (tmp_path / "shop.toml").write_text(text)
    (table,) = check_mapping(str(tmp_path / "shop.toml"))["tables"]

    assert "price" not in str(events.get("event_id"))
    assert ("qty" in str(events.get("event_id"))) == (repeats == 4)
    assert "id_conflict" in text or "event_id" in events
    broken = {rule["rule"]: rule["rows"] for rule in table["broken"]}
    assert broken.pop("value_unreadable") == 1
    assert set(broken) <= {"id_conflict"}


@pytest.mark.parametrize(
    ("column", "cell", "line"),
    [
        ("price", "€{}", 'constants = { event_type = "purchase", currency = "EUR" }'),
        ("price", "£{}", 'constants = { event_type = "purchase", currency = "GBP" }'),
        ("unit_price_eur", "{}", 'constants = { event_type = "purchase", currency = "EUR" }'),
        ("price", "${}", '# constants = { event_type = "purchase", currency = "USD" }'),
    ],
)
def test_the_currency_is_guessed_from_the_price_and_commented_out_where_it_may_be_another(
    column: str, cell: str, line: str, tmp_path: Path
) -> None:
    rows = [f"O{n},C{n % 40},A{n % 9},2,{cell.format(n + 0.5)},2024-03-{n % 28 + 1:02}" for n in range(200)]
    (tmp_path / "orders.csv").write_text("\n".join([f"order_id,customer_id,sku,qty,{column},ordered_at", *rows]))
    text = draft_mapping([str(tmp_path / "orders.csv")], "shop").text

    lines = [one.partition("  #")[0] for one in text.splitlines()]
    assert line in lines
    if line.startswith("#"):
        instead = [one.replace("# constants", "constants") for one in lines if not one.startswith("constants")]
        assert Mapping.parse(tomllib.loads("\n".join(instead)), "shop").events


def test_prices_in_several_currencies_are_named(tmp_path: Path) -> None:
    rows = [f"A{n},Lamp {n},{'€' if n % 2 else '£'}{n}.50" for n in range(100)]
    (tmp_path / "products.csv").write_text("\n".join(["sku,name,price", *rows]))
    text = draft_mapping([str(tmp_path / "products.csv")], "shop").text
    assert "several currencies (GBP, EUR)" in text or "several currencies (EUR, GBP)" in text
    assert "constants" not in text


@pytest.mark.parametrize(
    ("name", "yes", "no", "words"),
    [
        ("Availability", "In stock", "Sold out", {}),
        ("In Stock", "true", "false", {}),
        ("product_availability", "https://schema.org/InStock", "https://schema.org/OutOfStock", {}),
        ("Inventory", "12", "0", {}),
        ("Verfügbarkeit", "auf Lager", "ausverkauft", {"auf lager": True, "ausverkauft": False}),
    ],
)
def test_columns_of_stock_are_no_attributes(
    name: str, yes: str, no: str, words: dict[str, bool], tmp_path: Path
) -> None:
    rows = [f"A{n},Lamp {n},{no if n % 5 == 0 else yes},{'red' if n % 2 else 'blue'}" for n in range(40)]
    (tmp_path / "products.csv").write_text("\n".join([f"SKU,Title,{name},Colour", *rows]))

    made = draft_mapping([str(tmp_path / "products.csv")], "shop")
    items = tomllib.loads(made.text)["items"]

    assert items["available"] == name
    assert items.get("available_words", {}) == words
    assert items["attributes"] == ["Colour"]


def dutch_orders(folder: Path, price: str, state: str, words: tuple[str, str]) -> str:
    """The mapping for order lines with a price and a state that are called so."""
    rows = [f"B{n // 2},K{n % 30},A{n % 9},2,{n},50,{words[n % 20 == 0]},{n % 28 + 1:02}-03-2024" for n in range(300)]
    header = f"Bestelnummer,Klant,Artikel,Aantal,{price},{state},Datum"
    lines = [row.replace(",", ";").replace(";50;", ",50;") for row in (header, *rows)]
    (folder / "orders.csv").write_text("\n".join(lines))
    return draft_mapping([str(folder / "orders.csv")], "shop", "given", "terms").text


def test_a_price_with_tax_and_orders_that_were_cancelled_are_found(tmp_path: Path) -> None:
    text = dutch_orders(tmp_path, "Prijs per stuk incl. btw", "Status", ("Verzonden", "Geannuleerd"))
    events = tomllib.loads(text)["events"]

    assert events["value"] == {"expr": 'round(Aantal * "Prijs per stuk incl. btw", 2)'}
    assert events["where"] == "(Status is null or not lower(Status) in ('geannuleerd'))"


@pytest.mark.parametrize(
    ("state", "words", "state_line"),
    [
        ("Opmerking", ("Verzonden", "Geannuleerd"), "(Opmerking is null or not lower(Opmerking) in ('geannuleerd'))"),
        ("Status", ("klaar", "niks"), "(Status is null or not lower(Status) in ('niks'))"),
    ],
)
def test_a_price_or_state_that_is_not_sure_is_a_suggestion_that_parses(
    state: str, words: tuple[str, str], state_line: str, tmp_path: Path
) -> None:
    text = dutch_orders(tmp_path, "Prijs van toen", state, words)

    assert not {"value", "where"} & tomllib.loads(text)["events"].keys()
    assert f"# Not used: Prijs van toen, {state}" in text
    taken = text.replace("# value =", "value =").replace("# where =", "where =")
    events = Mapping.parse(tomllib.loads(taken), "shop").events
    assert events
    assert tomllib.loads(taken)["events"]["value"] == {"expr": 'round(Aantal * "Prijs van toen", 2)'}
    assert tomllib.loads(taken)["events"]["where"] == state_line


def stock_of(folder: Path, name: str, words: list[str]) -> str:
    rows = [f"A{n};Lampa {n};{words[0 if n % 4 else n // 4 % len(words)]};{n % 3}x" for n in range(80)]
    (folder / "products.csv").write_text("\n".join([f"SKU;Nazwa;{name};Kolor", *rows]))
    return draft_mapping([str(folder / "products.csv")], "shop").text


def test_stock_in_words_and_times_of_delivery_is_no_attribute(tmp_path: Path) -> None:
    text = stock_of(tmp_path, "Dostępność", ["dostępny", "wyprzedany", "w 3-5 dni", "na zamówienie", "hen"])
    items = tomllib.loads(text)["items"]

    matched = {"dostępny": True, "wyprzedany": False, "w 3 5 dni": True, "na zamówienie": True}
    assert (items["available"], items["available_words"]) == ("Dostępność", matched)
    assert items["attributes"] == ["Kolor"]
    [undecided] = [line[2:] for line in text.splitlines() if line.startswith("# available_words = ")]
    assert tomllib.loads(undecided)["available_words"] == matched | {"hen": True}


@pytest.mark.parametrize(
    ("name", "words"), [("Beschikbaarheid", ["klaar", "niks"]), ("Info", ["op voorraad", "uitverkocht"])]
)
def test_stock_known_by_its_name_or_its_words_alone_is_a_suggestion(
    name: str, words: list[str], tmp_path: Path
) -> None:
    text = stock_of(tmp_path, name, words)
    assert "available" not in tomllib.loads(text)["items"]
    items = Mapping.parse(tomllib.loads(text.replace("# available", "available")), "shop").items
    assert items
    assert items.available == name
    assert items.available_words.keys() == set(words)


@pytest.mark.parametrize(("name", "words"), [("Regal", ["ja", "nein"]), ("Phase", ["active", "inactive"])])
def test_plain_answers_under_other_names_are_not_taken_for_stock(name: str, words: list[str], tmp_path: Path) -> None:
    assert "available" not in stock_of(tmp_path, name, words)


def reviews_of(folder: Path, name: str, most: int) -> str:
    rows = [f"C{n % 40};A{n % 23};{n * 7 % most + 1};{n % 28 + 1:02}/03/2024;Très bien {n}" for n in range(200)]
    (folder / "avis.csv").write_text("\n".join([f"Client;Réf. article;{name};Date;Commentaire", *rows]))
    return draft_mapping([str(folder / "avis.csv")], "shop", "given", "terms").text


@pytest.mark.parametrize(("name", "most"), [("Étoiles", 5), ("Note", 10)])
def test_a_table_of_ratings_is_known_by_the_name_of_its_column(name: str, most: int, tmp_path: Path) -> None:
    text = reviews_of(tmp_path, name, most)
    events = tomllib.loads(text)["events"]
    assert (events["rating"], events["constants"]) == (name, {"event_type": "rating"})
    without_sales = text.replace("constants", "# constants").replace("# event_type", "event_type")
    (tmp_path / "shop.toml").write_text(without_sales)
    report = check_mapping(str(tmp_path / "shop.toml"))
    assert report["accepted"], report
    assert "purchase" in str(report["tables"])


@pytest.mark.parametrize("most", [5, 10])
def test_a_rating_known_by_its_numbers_alone_is_a_suggestion(most: int, tmp_path: Path) -> None:
    text = reviews_of(tmp_path, "Avis", most)
    assert "rating" not in tomllib.loads(text)["events"]
    assert "or purchase, rating, click" in text
    assert tomllib.loads(text.replace("# rating", "rating"))["events"]["rating"] == "Avis"


@pytest.mark.parametrize("most", [2, 30])
def test_other_numbers_are_not_taken_for_ratings(most: int, tmp_path: Path) -> None:
    assert "# rating =" not in reviews_of(tmp_path, "Avis", most)


def log(folder: Path, column: str, *words: str) -> Path:
    """Write a log of visits with prices: each word is the third as frequent as the one before."""
    rows = [
        f"2025-06-{n % 28 + 1:02} 07:{n % 60:02}:00,U{n * 7 % 31},P{n * 5 % 17:03},{word},4.{n % 90 + 10}"
        for n, word in enumerate(words[(n % 3 == 0) + (n % 9 == 0)] for n in range(300))
    ]
    path = folder / "log.csv"
    path.write_text("\n".join([f"timestamp,user_id,item_id,{column},price", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("column", ["Azione", "event_type", "Xyz"])
def test_words_of_events_in_another_language_are_read_and_unknown_ones_listed(tmp_path: Path, column: str) -> None:
    text = draft_mapping([str(log(tmp_path, column, "Visualizzazione", "aggiunta al carrello", "boh"))], "shop").text

    events = tomllib.loads(text)["events"]
    assert events["event_type"] == column
    assert events["event_types"] == {"Visualizzazione": "view", "aggiunta al carrello": "add_to_cart"}
    assert f"# Left out until you decide, since no event type is known for these words of {column}: 'boh'." in text


@pytest.mark.parametrize("column", ["event_type", "Xyz"])
def test_a_column_of_words_that_no_list_has_makes_the_event_type_uncertain(tmp_path: Path, column: str) -> None:
    path = log(tmp_path, column, "katselu", "ostoskori", "osto")
    text = draft_mapping([str(path)], "shop").text

    assert f'constants = {{ event_type = "purchase" }}  # uncertain: or event_type = "{column}"' in text
    assert f'# event_type = "{column}"' in text
    assert '# event_types = { katselu = "…", osto = "…", ostoskori = "…" }' in text

    (tmp_path / "shop.toml").write_text(text, encoding="utf-8")
    guesses = check_mapping(str(tmp_path / "shop.toml"), [str(path)])["tables"][-1]["suspicions"]
    [guess] = [one for one in guesses if one["id"] == "event_type_may_be_a_column"]
    assert f"Does '{column}', which is not used, hold event types: 'katselu', 'osto', 'ostoskori'?" in guess["says"]


def test_states_of_orders_and_countries_are_no_events(tmp_path: Path) -> None:
    for column, words in (("Stav", ("vyřízeno", "odesláno", "zaplaceno")), ("Land", ("DE", "AT", "CH"))):
        assert "uncertain: or event_type" not in draft_mapping([str(log(tmp_path, column, *words))], "shop").text


def test_a_column_of_row_numbers_without_a_name_is_left_out(tmp_path: Path) -> None:
    rows = [f"{n},u{n % 5},i{n % 7},2024-03-{n % 28 + 1:02},3" for n in range(60)]
    (tmp_path / "orders.csv").write_text("\n".join([",customer_id,product_id,order_date,quantity", *rows]))
    stated = tomllib.loads(draft_mapping([str(tmp_path / "orders.csv")], "shop").text)
    assert stated["events"]["user_id"] == "customer_id"


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"a,a\n1,2\n", b"one\n1\n", b"\xff\xfe"])
def test_a_file_that_is_no_table_is_named_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_bytes(content)
    with pytest.raises(TailorbirdError, match=r"odd\.csv"):
        draft_mapping([str(tmp_path / "odd.csv")], "shop")


def test_letters_of_central_europe_are_read_and_the_other_encodings_named(tmp_path: Path) -> None:
    rows = "".join(f"{n};Łańcuch gęsi śliwa {n};{n},50;2\n" for n in range(1, 60))
    (tmp_path / "products.csv").write_text(f"SKU;Title;Price;Zdjęcie\n{rows}", encoding="cp1250")
    text = draft_mapping([str(tmp_path / "products.csv")], "shop", "given", "test").text

    assert tomllib.loads(text)["items"]["encoding"] == "windows-1250"
    [line] = [line for line in text.splitlines() if "guessed: " in line]
    assert '"windows-1252" (' in line
    assert '"iso-8859-2" (' in line
    assert "Zdjęcie" in text


@pytest.mark.parametrize("title", ["Shop Ltd - products;;;;\r\n\r\n", "Shop Ltd\r\n\r\n"])
def test_a_title_above_the_header_is_skipped(tmp_path: Path, title: str) -> None:
    rows = "".join(f"{n};Lamp, red {n};{n},50;{n % 5}\r\n" for n in range(1, 60))
    (tmp_path / "products.csv").write_text(f"{title}SKU;Title;Price;Stock\r\n{rows}", newline="")
    stated = tomllib.loads(draft_mapping([str(tmp_path / "products.csv")], "shop", "given", "test").text)["items"]

    assert (stated["skip_lines"], stated["separator"], stated["item_id"]) == (2, ";", "SKU")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize(
    "title", ["Lampade Rossi S.p.A., Via Roma 3, Torino", "Rossi, Torino\r\nListino, 2026", "A|B; C"]
)
def test_the_separator_is_that_of_the_rows_and_not_of_a_title(tmp_path: Path, separator: str, title: str) -> None:
    names = ["Codice articolo", "Nome", "Prezzo", "Marca", "Colore"]
    rows = [names, *([f"L{n}", f"Lampada {n}", f"{n},50", f"M{n % 4}", f"C{n % 3}"] for n in range(1, 60))]
    table = "\r\n".join(separator.join(row) for row in rows)
    (tmp_path / "listino.csv").write_text(f"{title}\r\n\r\n{table}\r\n", newline="")
    stated = tomllib.loads(draft_mapping([str(tmp_path / "listino.csv")], "shop", "given", "test").text)["items"]

    assert (stated["separator"], stated["skip_lines"]) == (separator, title.count("\n") + 2)
    assert (stated["title"], stated["price"]) == ("Nome", "Prezzo")


def write(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    path.write_text("\n".join("\t".join(map(str, row)) for row in [header, *rows]) + "\n", encoding="utf-8")
    return path


def order_rows(lines: int, numeric: bool = False, other_form: int = 6) -> list[list[Any]]:
    """Order lines: every sixth time is written in another form, as exports of two programs are."""
    chance, rows = random.Random(lines), []  # noqa: S311 -- made-up data
    for order in range(160):
        user, day, month = chance.randrange(50), chance.randrange(1, 29), chance.randrange(1, 7)
        iso = order % other_form == 0
        time = f"2025-0{month}-{day:02} 10:{order % 60:02}" if iso else f"{day:02}.0{month}.2025 10:30"
        for item in chance.sample(range(60), chance.randrange(1, 2 * lines)):
            price = f"{item * 3 + 4},{chance.choice(['99', '50'])}"
            ids = [user + 1, item + 1] if numeric else [f"K{user:04}", f"{item:05}"]
            rows.append([f"T{order}", time, *ids, chance.choice([1, 1, 2, 3]), price])
    return rows


def shop(folder: Path, headers: Headers, lines: int = 2, numeric: bool = False) -> list[Path]:
    """Write orders, items with an EAN that is unique, and users with an address that is unique."""
    orders, goods, people = headers
    codes = [(n + 1, n + 1) if numeric else (f"{n:05}", f"K{n:04}") for n in range(100)]
    items = [
        [5_900_000_000_000 + n * 7919, item, f"Hyvä tuote {n}", f"R{n % 6}", f"{n + 4},99", "1.3.2024"]
        for n, (item, _) in enumerate(codes[:60])
    ]
    users = [
        [f"a{n}@posti.example", user, f"Aino {n % 40}", ("Oulu", "Turku")[n % 2], "2.5.2024"]
        for n, (_, user) in enumerate(codes)
    ]
    return [
        write(folder / "1.tsv", orders, order_rows(lines, numeric)),
        write(folder / "2.tab", goods, items),
        write(folder / "3.txt", people, users),
    ]


def drafted(files: list[Path]) -> str:
    return draft_mapping([str(file) for file in files], "shop", "given", "test").text


@pytest.mark.parametrize("headers", [FINNISH, GREEK, POLISH, LETTERS], ids=lambda one: one[0][2])
@pytest.mark.parametrize(("lines", "numeric"), [(1, False), (2, True)])
def test_orders_items_and_users_are_found_by_what_they_join(
    headers: Headers, lines: int, numeric: bool, tmp_path: Path
) -> None:
    text = drafted(shop(tmp_path, headers, lines, numeric))
    stated, (order, time, user, item, pieces, price) = tomllib.loads(text), headers[0]
    events = stated["events"]

    assert (events["file"], events["occurred_at"]) == ("1.tsv", time)
    assert (events["user_id"], stated["users"]["user_id"]) == (user, headers[2][1])
    assert (events["item_id"], stated["items"]["item_id"]) == (item, headers[1][1])
    assert (events["quantity"], price in str(events["value"])) == (pieces, True)
    assert (stated["items"]["title"], stated["items"]["price"]) == (headers[1][2], headers[1][4])
    assert events["event_id"] in ([order, item], order)


def test_the_mapping_by_cells_passes_its_check(tmp_path: Path) -> None:
    files = shop(tmp_path, GREEK)
    rows = order_rows(2, other_form=1_000)[2:]  # the first order has another form of time
    (tmp_path / "shop.toml").write_text(drafted([write(files[0], GREEK[0], rows), *files[1:]]))

    result = check_mapping(str(tmp_path / "shop.toml"))

    counts = {one["part"]: one["counts"] for one in result["tables"]}
    assert (counts["items"]["routed"], counts["users"]["routed"]) == (60, 100)
    assert counts["events"]["accepted"] == counts["events"]["read"]


@pytest.mark.parametrize("headers", [FINNISH, GREEK, LETTERS], ids=lambda one: one[0][2])
@pytest.mark.parametrize("stored", [1, 2])
def test_one_other_file_is_enough_and_the_other_id_is_called_uncertain(
    headers: Headers, stored: int, tmp_path: Path
) -> None:
    files = shop(tmp_path, headers)
    text = drafted([files[0], files[stored]])
    events = tomllib.loads(text)["events"]
    assert (events["user_id"], events["item_id"]) == (headers[0][2], headers[0][3])
    assert "uncertain: guessed from its cells" in text
    assert ("users" in tomllib.loads(text)) == (stored == 2)


@pytest.mark.parametrize("headers", [FINNISH, POLISH, LETTERS], ids=lambda one: one[0][2])
def test_orders_alone_become_a_commented_part_of_events_and_never_users(headers: Headers, tmp_path: Path) -> None:
    result = draft_mapping([str(shop(tmp_path, headers)[0])], "shop")
    assert result.parts == ()
    assert "# If 1.tsv has the events, complete this part" in result.text
    assert f'# occurred_at = "{headers[0][1]}"' in result.text
    assert tomllib.loads(result.text).keys() == {"name", "location", "consent"}


@pytest.mark.parametrize("headers", [GREEK, POLISH, LETTERS], ids=lambda one: one[0][2])
@pytest.mark.parametrize("dated", [False, True])
def test_orders_apart_from_their_lines_are_recognised_in_any_language(
    headers: Headers, dated: bool, tmp_path: Path
) -> None:
    files, rows, names = shop(tmp_path, headers), order_rows(2), headers[0]
    heads = list({row[0]: row[:3] for row in rows}.values())
    write(files[0], names[:3], heads)
    lines = write(
        tmp_path / "4.txt",
        [names[0], *names[1 + (not dated) : 2], *names[3:]],
        [[row[0], *([row[1]] if dated else []), *row[3:]] for row in rows],
    )
    result = draft_mapping([str(file) for file in (files[0], lines, files[1])], "shop")
    assert "1.tsv has orders without their products. Join it with the table of order lines" in result.text
    assert "4.txt has order lines without a user or a time. Join it with the table of orders" in result.text
    assert not {"users", "events"} & {*result.parts}


def test_both_halves_of_orders_alone_are_refused_with_what_to_do(tmp_path: Path) -> None:
    rows = order_rows(2)
    heads = write(tmp_path / "1.csv", GREEK[0][:3], list({row[0]: row[:3] for row in rows}.values()))
    lines = write(tmp_path / "2.csv", [GREEK[0][0], *GREEK[0][3:]], [[row[0], *row[3:]] for row in rows])
    with pytest.raises(TailorbirdError, match="Join it with the table of order lines into one file first"):
        draft_mapping([str(heads), str(lines)], "shop")


def test_users_without_orders_are_known_by_their_number_rather_than_their_address(tmp_path: Path) -> None:
    _, _, people = shop(tmp_path, (FINNISH[0], FINNISH[1], ["E-mail", *FINNISH[2][1:]]))
    assert tomllib.loads(drafted([people]))["users"]["user_id"] == "Ostajanro"


def test_orders_beside_a_log_of_views_are_called_another_table_of_events(tmp_path: Path) -> None:
    files = shop(tmp_path, FINNISH)
    views = [[f"K{n % 50:04}", f"{n % 60:05}", f"2025-03-{1 + n % 28:02} 11:30", "view"] for n in range(900)]
    log = write(tmp_path / "log.tsv", ["user_id", "item_id", "timestamp", "event_type"], views)
    unused = draft_mapping([str(file) for file in [*files, log]], "shop", "given", "test").unused
    assert unused == ("1.tsv is another table of events. Write a mapping of its own for it.",)


def test_branches_are_neither_users_nor_items(tmp_path: Path) -> None:
    rows = [[*row, f"M{place % 9}"] for place, row in enumerate(order_rows(2))]
    orders = write(tmp_path / "1.csv", [*LETTERS[0], "z"], rows)
    branches = write(tmp_path / "2.csv", ["x", "y"], [[f"M{n}", f"Myymälä {n}"] for n in range(9)])
    assert draft_mapping([str(orders), str(branches)], "shop").parts == ()

    items = shop(tmp_path, LETTERS)[1]
    stated = tomllib.loads(drafted([orders, branches, items]))
    assert (stated["events"]["user_id"], stated["items"]["file"]) == ("c", "2.tab")
    assert "users" not in stated


@pytest.mark.parametrize("signed", [True, False])
def test_a_negative_price_of_a_sale_waits_and_that_of_a_refund_loses_its_sign(signed: bool, tmp_path: Path) -> None:
    rows = [
        f"O{n},C{n % 40},A{n % 9},{-1 if signed and n % 10 == 5 else 2},{-9.5 if n % 20 == 3 else n + 0.5},2024-03-07"
        for n in range(100)
    ]
    (tmp_path / "orders.csv").write_text("\n".join(["order_id,customer_id,sku,qty,unit_price,ordered_at", *rows]))
    (tmp_path / "shop.toml").write_text(draft_mapping([str(tmp_path / "orders.csv")], "shop", "given", "terms").text)
    (table,) = check_mapping(str(tmp_path / "shop.toml"))["tables"]

    assert [rule["rows"] for rule in table["broken"]] == [5]
    assert table["counts"]["accepted"] == 95
    assert not [one for one in table["suspicions"] if one["id"] == "negative_quantities"]


@pytest.mark.parametrize(("second", "key"), [("{0} {1}", "category_separator"), ("Sale {1}", "category_alternatives")])
def test_a_list_is_a_path_of_categories_if_each_second_word_belongs_to_one_first_word(
    second: str, key: str, tmp_path: Path
) -> None:
    items = [
        {
            "sku": f"p{n}",
            "title": f"Lamp in red {n}",
            "price": f"{n}.50",
            "categories": [first, second.format(first, n % 4)],
        }
        for n in range(90)
        for first in [f"Room {n % 3}"]
    ]
    (tmp_path / "products.json").write_text(json.dumps(items))
    stated = tomllib.loads(draft_mapping([str(tmp_path / "products.json")], "shop", "given", "terms").text)["items"]

    assert {name: stated.get(name) for name in ("category_separator", "category_alternatives")} == {
        "category_separator": None,
        "category_alternatives": None,
    } | {key: ", "}
