"""Prices, currencies, stock and ratings are guessed from the values of columns and from their names."""

import tomllib
from pathlib import Path

import pytest

from models.ingest.tabular import table_mapping as mappings
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.check.draft_mapping import draft_mapping


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


def test_variants_of_an_item_distinguish_the_lines_of_an_order(tmp_path: Path) -> None:
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
