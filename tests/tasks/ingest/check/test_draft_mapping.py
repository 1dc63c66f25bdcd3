"""The mapping that is guessed for the exports of ordinary shops passes its check, and an ingest takes the rows."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from infra.installation import Installation
from models.errors import TailorbirdError
from models.ingest.tabular import config as mappings
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.check.draft_mapping import draft_mapping, write_mapping
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.ingest.reference.ingest_users import ingest_users
from tests.models.ingest.draft.shops import SHOPS

EXPECTED: dict[str, dict[str, Any]] = {
    "shopify": {
        "events.item_id": "Lineitem sku",
        "events.session_id": "Name",
        "events.time_format": "%Y-%m-%d %H:%M:%S %z",
        "items.item_id": "Variant SKU",
        "items.category_separator": " > ",
        "items.where": '"Variant SKU" is not null',
        "users.user_id": "Email",
        "users.attributes": ["Default Address Country Code"],
    },
    "woocommerce": {
        "events.user_id": "Customer User ID",
        "events.quantity": {"expr": 'abs("Quantity (- Refund)")'},
        "events.event_type": {"expr": "if(\"Quantity (- Refund)\" < 0, 'refund', 'purchase')"},
        "items.price": "Regular price",
        "items.category_alternatives": ", ",
    },
    "german": {
        "events.separator": ";",
        "events.encoding": "windows-1252",
        "events.decimal": ",",
        "events.thousands": ".",
        "events.time_format": "%d.%m.%Y %H:%M",
        "events.event_id": ["Bestellnummer", "Artikelnummer"],
        "users.consent": "Einwilligung",
        "users.consent_words": ["ja"],
        "users.attributes": ["Land"],
    },
    "order_lines": {
        "events.time_format": "%m/%d/%Y %H:%M",
        "events.currency_signs": ["$"],
        "events.where": "CustomerID is not null",
        "items.choose": {"title": "most_frequent", "price": "latest"},
        "users.attributes": ["Country"],
    },
    "clickstream": {
        "events.time_format": "epoch_ms",
        "events.event_types": {"addToCart": "add_to_cart", "page_view": "view", "transaction": "purchase"},
        "events.where": "not event in ('scroll')",
        "items.title": "name",
    },
    "ratings": {
        "events.time_format": "epoch_s",
        "events.rating": "rating",
        "events.constants": {"event_type": "rating"},
        "items.category_alternatives": "|",
    },
}


def drafted(name: str, folder: Path) -> tuple[str, list[Path]]:
    """The text of the mapping for a shop's files."""
    files = SHOPS[name](folder)
    return draft_mapping([str(file) for file in files], name, "given", "test").text, files


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The mapping of each shop, in the folder of its files."""
    result = {}
    for name in SHOPS:
        folder = tmp_path_factory.mktemp(name)
        result[name] = folder / "shop.toml"
        write_mapping(drafted(name, folder)[0], result[name])
    return result


@pytest.mark.parametrize("name", SHOPS)
def test_the_guessed_columns_are_those_of_the_shop(name: str, shops: dict[str, Path]) -> None:
    stated = tomllib.loads(shops[name].read_text())
    result = {key: stated[key.split(".")[0]].get(key.split(".")[1]) for key in EXPECTED[name]}
    assert result == EXPECTED[name]


@pytest.mark.parametrize("name", SHOPS)
def test_the_guessed_mapping_passes_its_check(name: str, shops: dict[str, Path]) -> None:
    result = check_mapping(str(shops[name]))

    assert result["accepted"], [table["refused"] for table in result["tables"]]
    events = result["tables"][-1]
    assert events["counts"]["quarantined"] == events["counts"]["duplicate"] == 0
    assert events["counts"]["accepted"] >= (400 if name == "german" else 700)  # where half of the users refused


def test_uncertain_guesses_carry_the_alternatives_and_unused_columns_are_listed(shops: dict[str, Path]) -> None:
    text = shops["woocommerce"].read_text()
    assert 'user_id = "Customer User ID"  # or "Email (Billing)"' in text
    assert 'zone = "UTC"  # the times name no zone' in text
    assert "# Not used: Email (Billing), Country Code (Billing), Item #" in text


def test_personal_columns_become_no_attributes(shops: dict[str, Path]) -> None:
    stated = tomllib.loads(shops["shopify"].read_text())
    listed = {*stated["users"]["attributes"], *stated["items"].get("attributes", [])}
    assert not listed & {"First Name", "Last Name", "Phone", "Email"}


def test_without_a_column_of_consent_a_person_has_to_decide(tmp_path: Path) -> None:
    files = SHOPS["ratings"](tmp_path)
    text = draft_mapping([str(file) for file in files], "films").text
    assert 'consent = "opt-in"' in text
    assert "# No column states consent." in text


def test_dates_that_fit_two_orders_are_marked(tmp_path: Path) -> None:
    rows = [f"u{n % 5},i{n % 7},0{n % 9 + 1}/0{n % 8 + 1}/2024,3" for n in range(60)]
    (tmp_path / "orders.csv").write_text("\n".join(["customer_id,product_id,order_date,quantity", *rows]))
    text = draft_mapping([str(tmp_path / "orders.csv")], "shop").text
    assert '# uncertain: "%m/%d/%Y" reads as many' in text


def test_orders_apart_from_their_lines_are_to_be_joined_first(tmp_path: Path) -> None:
    orders = [f"{n},c{n % 30},2024-03-{n % 28 + 1:02},9.50" for n in range(200)]
    lines = [f"{n % 200},p{n % 40},1,9.50" for n in range(400)]
    (tmp_path / "orders.csv").write_text("\n".join(["order_id,customer_id,order_date,total", *orders]))
    (tmp_path / "order_items.csv").write_text("\n".join(["order_id,product_id,quantity,price", *lines]))
    with pytest.raises(TailorbirdError, match="Join it with the table of order") as refused:
        draft_mapping([str(tmp_path / "orders.csv"), str(tmp_path / "order_items.csv")], "shop")
    assert "orders.csv has orders without their products" in str(refused.value)
    assert "order_items.csv has order lines without a user or a time" in str(refused.value)


def test_files_with_the_same_columns_are_one_part(tmp_path: Path) -> None:
    for year in (2023, 2024):
        rows = [f"u{n % 5},i{n % 7},{year}-03-{n % 28 + 1:02},3" for n in range(60)]
        header = "customer_id,product_id,order_date,quantity"
        (tmp_path / f"orders-{year}.csv").write_text("\n".join([header, *rows]))
    stated = tomllib.loads(draft_mapping([str(tmp_path)], "shop").text)
    assert stated["events"]["file"] == ["orders-2023.csv", "orders-2024.csv"]


def test_a_file_in_utf_16_with_tabs_is_read(tmp_path: Path) -> None:
    rows = [f"u{n % 5}\ti{n % 7}\t2024-03-{n % 28 + 1:02}\t3" for n in range(60)]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(["customer_id\tproduct_id\torder_date\tquantity", *rows]), encoding="utf-16")
    stated = tomllib.loads(draft_mapping([str(path)], "shop").text)
    assert (stated["events"]["separator"], stated["events"]["encoding"]) == ("\t", "utf-16")


def test_a_column_of_row_numbers_without_a_name_is_left_out(tmp_path: Path) -> None:
    rows = [f"{n},u{n % 5},i{n % 7},2024-03-{n % 28 + 1:02},3" for n in range(60)]
    (tmp_path / "orders.csv").write_text("\n".join([",customer_id,product_id,order_date,quantity", *rows]))
    stated = tomllib.loads(draft_mapping([str(tmp_path / "orders.csv")], "shop").text)
    assert stated["events"]["user_id"] == "customer_id"


def test_of_many_unknown_event_types_only_the_known_ones_are_read(tmp_path: Path) -> None:
    words = ["view", *(f"it's {n}" for n in range(40))]
    rows = [f"u{n % 5},i{n % 7},2024-03-{n % 28 + 1:02},{words[n % 41]}" for n in range(400)]
    (tmp_path / "clicks.csv").write_text("\n".join(["user_id,item_id,time,event", *rows]))
    stated = tomllib.loads(draft_mapping([str(tmp_path / "clicks.csv")], "shop").text)
    assert stated["events"]["where"] == "event in ('view')"


def test_names_that_no_list_has_are_found_by_their_parts(tmp_path: Path) -> None:
    header = "order_id,order_item_id,product_id,customer_unique_id,order_purchase_timestamp,price"
    rows = [f"o{n // 2},{n % 2 + 1},p{n % 9},c{n % 40},2017-03-{n % 28 + 1:02} 10:56:33,9.90" for n in range(200)]
    (tmp_path / "lines.csv").write_text("\n".join([header, *rows]))
    events = tomllib.loads(draft_mapping([str(tmp_path / "lines.csv")], "shop").text)["events"]
    assert (events["user_id"], events["occurred_at"]) == ("customer_unique_id", "order_purchase_timestamp")
    assert events["event_id"] == ["order_id", "order_item_id"]


def joined_tables(folder: Path, catalogue: str, customers: str, orders: str = "Artikelnr;Kundennr") -> dict[str, Any]:
    """The mapping for orders, and for a catalogue and customers whose columns are called so."""
    chance = list(range(0, 400, 7))
    lines = [f"GA-{n % 50};K{n % 30};{n % 28 + 1:02}.01.2025 10:00;{n % 3 + 1};9,90" for n in (*chance, *range(400))]
    write = {
        "bestellungen.csv": [f"{orders};Bestelldatum;Menge;Einzelpreis", *lines],
        "artikel.csv": [catalogue, *(f"GA-{n}|Sorte {n % 45}|Garten > Beet {n % 5}|€ {n},90" for n in range(60))],
        "kunden.csv": [customers, *(f"K{n};{10_000 + n % 9};{('privat', 'Verein')[n % 2]}" for n in range(40))],
    }
    for name, rows in write.items():
        (folder / name).write_text("\n".join(rows) + "\n", encoding="cp1252")
    return tomllib.loads(draft_mapping([str(folder / name) for name in write], "shop").text)


@pytest.mark.parametrize("code", ["ArtNr", "Kennung", "Ref.", "x"])
@pytest.mark.parametrize("person", ["KdNr", "Kennung", "y"])
def test_a_table_whose_ids_join_the_events_is_read_whatever_its_columns_are_called(
    tmp_path: Path, code: str, person: str
) -> None:
    stated = joined_tables(tmp_path, f"{code}|Bezeichnung|Kategorie|VK", f"{person};Gebiet;Kundentyp")

    assert (stated["events"]["item_id"], stated["items"]["item_id"]) == ("Artikelnr", code)
    assert (stated["events"]["user_id"], stated["users"]["user_id"]) == ("Kundennr", person)
    assert (stated["items"]["title"], stated["items"]["separator"]) == ("Bezeichnung", "|")


def test_a_table_that_joins_nothing_is_a_part_to_complete(tmp_path: Path) -> None:
    orders = ["user_id,item_id,time,quantity", *(f"u{n % 9},i{n % 7},2024-01-{n % 28 + 1:02},1" for n in range(90))]
    (tmp_path / "orders.csv").write_text("\n".join(orders))
    (tmp_path / "stuff.csv").write_text("Kürzel|Rest\n" + "".join(f"z{n}|{n}\n" for n in range(50)), encoding="cp1252")

    result = draft_mapping([str(tmp_path / "orders.csv"), str(tmp_path / "stuff.csv")], "shop")

    assert "# If stuff.csv has the items, complete this part; docs/mapping.md has all keys." in result.text
    assert '# [items]\n# file = "stuff.csv"\n# separator = "|"\n# encoding = "windows-1252"\n' in result.text
    assert "# Columns: Kürzel, Rest" in result.text
    assert "items" not in result.parts


def order_lines(folder: Path, repeats: int, header: str = "", extra: str = "") -> Path:
    """Write order lines of which every so many repeat the item of the line before, at another price."""
    rows = [
        f"O{n // 4},C{n // 4 % 30},P{n % 4 - (n % repeats == 1)},{n % 3 + 1},"
        f"{'on request' if n == 9 else n + 0.5},2024-03-{n // 4 % 28 + 1:02}{f',{n}{extra}' if extra else ''}"
        for n in range(400)
    ]
    file = folder / "orders.csv"
    file.write_text("\n".join([f"order_no,customer,sku,qty,price,ordered_at{header}", *rows]))
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


def test_variants_of_an_item_tell_the_lines_of_an_order_apart(tmp_path: Path) -> None:
    file = order_lines(tmp_path, 2, ",variant_size", " cm")
    events = tomllib.loads(draft_mapping([str(file)], "shop").text)["events"]
    assert events["event_id"] == ["order_no", "variant_size"]


@pytest.mark.parametrize(
    ("column", "cell", "line"),
    [
        ("price", "€{}", 'constants = { event_type = "purchase", currency = "EUR" }'),
        ("price", "{} €", 'constants = { event_type = "purchase", currency = "EUR" }'),
        ("price", "£{}", 'constants = { event_type = "purchase", currency = "GBP" }'),
        ("price", "{} CHF", 'constants = { event_type = "purchase", currency = "CHF" }'),
        ("unit_price_eur", "{}", 'constants = { event_type = "purchase", currency = "EUR" }'),
        ("price", "${}", '# constants = { event_type = "purchase", currency = "USD" }'),
        ("price", "¥{}", '# constants = { event_type = "purchase", currency = "JPY" }'),
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
        assert mappings.parse(tomllib.loads("\n".join(instead)), "shop").events


def test_prices_in_several_currencies_are_named(tmp_path: Path) -> None:
    rows = [f"A{n},Lamp {n},{'€' if n % 2 else '£'}{n}.50" for n in range(100)]
    (tmp_path / "products.csv").write_text("\n".join(["sku,name,price", *rows]))
    text = draft_mapping([str(tmp_path / "products.csv")], "shop").text
    assert "several currencies (GBP, EUR)" in text or "several currencies (EUR, GBP)" in text
    assert "constants" not in text


def test_french_names_are_known(tmp_path: Path) -> None:
    rows = [f"CMD{n};{n % 28 + 1:02}/03/2024;CL{n % 40};A{n % 9};2;9,50 €;Livrée" for n in range(200)]
    header = "N° commande;Date de commande;Réf. client;Réf. article;Qté;Prix unitaire TTC;Statut"
    (tmp_path / "commandes.csv").write_bytes("\n".join([header, *rows]).encode("cp1252"))
    events = tomllib.loads(draft_mapping([str(tmp_path / "commandes.csv")], "shop").text)["events"]
    assert (events["user_id"], events["session_id"], events["quantity"]) == ("Réf. client", "N° commande", "Qté")
    assert (events["decimal"], events["currency_signs"], events["time_format"]) == (",", ["€"], "%d/%m/%Y")


@pytest.mark.parametrize(
    ("name", "yes", "no", "words"),
    [
        ("Availability", "In stock", "Sold out", {}),
        ("In Stock", "true", "false", {}),
        ("Stock Status", "instock", "out-of-stock", {}),
        ("product_availability", "https://schema.org/InStock", "https://schema.org/OutOfStock", {}),
        ("Available", "available", "unavailable", {}),
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


def test_a_mapping_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text("mine")
    with pytest.raises(TailorbirdError, match="is there already"):
        write_mapping("other", tmp_path / "shop.toml")
    assert (tmp_path / "shop.toml").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"a,a\n1,2\n", b"one\n1\n", b"\xff\xfe"])
def test_a_file_that_is_no_table_is_named_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_bytes(content)
    with pytest.raises(TailorbirdError, match=r"odd\.csv"):
        draft_mapping([str(tmp_path / "odd.csv")], "shop")


def test_what_the_check_announced_comes_in(installation: Installation, tmp_path: Path) -> None:
    assert installation.engine
    text, files = drafted("german", tmp_path)
    mapping = str(tmp_path / "shop.toml")
    write_mapping(text, Path(mapping))
    announced = check_mapping(mapping)["tables"]
    steps = {"items": ingest_items, "users": ingest_users, "events": ingest_events}
    names = {"items": "artikel.csv", "users": "kunden.csv", "events": "bestellungen.csv"}

    for table in announced:
        entry = steps[table["part"]].fn(mapping, str(tmp_path / names[table["part"]]))
        assert {name: entry[name] for name in table["counts"]} == table["counts"]
    assert len(files) == len(announced)


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
    events = mappings.parse(tomllib.loads(taken), "shop").events
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
    items = mappings.parse(tomllib.loads(text.replace("# available", "available")), "shop").items
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
    events = tomllib.loads(reviews_of(tmp_path, name, most))["events"]
    assert (events["rating"], events["constants"]) == (name, {"event_type": "rating"})


@pytest.mark.parametrize("most", [5, 10])
def test_a_rating_known_by_its_numbers_alone_is_a_suggestion(most: int, tmp_path: Path) -> None:
    text = reviews_of(tmp_path, "Avis", most)
    assert "rating" not in tomllib.loads(text)["events"]
    assert "or purchase, rating, click" in text
    assert tomllib.loads(text.replace("# rating", "rating"))["events"]["rating"] == "Avis"


@pytest.mark.parametrize("most", [2, 30])
def test_other_numbers_are_not_taken_for_ratings(most: int, tmp_path: Path) -> None:
    assert "# rating =" not in reviews_of(tmp_path, "Avis", most)


def test_other_columns_are_named_for_an_id_only_if_they_hold_the_ids_of_the_events(tmp_path: Path) -> None:
    orders = [f"u{n % 30};{n % 50 + 4000};2024-03-{n % 28 + 1:02};1" for n in range(200)]
    goods = [f"{n + 4000};{n + 4000};Lamp of glass {n};https://shop.example/{n}.jpg;9,{n % 90 + 10}" for n in range(60)]
    for name, rows in {
        "orders.csv": ["customer;product;date;quantity", *orders],
        "goods.csv": ["Ref.;Kennung;Title;Picture;Price", *goods],
    }.items():
        (tmp_path / name).write_text("\n".join(rows))
    text = draft_mapping([str(tmp_path / "orders.csv"), str(tmp_path / "goods.csv")], "shop").text
    [line] = [line for line in text.partition("[items]")[2].splitlines() if line.startswith("item_id")][:1]
    assert line == 'item_id = "Ref."  # or "Kennung"'
