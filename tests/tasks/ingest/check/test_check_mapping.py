"""A check reads files with the code that ingests them, names what to change, and stores nothing."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.installation import Installation
from models.errors import TailorbirdError
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items
from tests.tasks.ingest.events.test_ingest_segment import call, viewed, write

GOLDEN = Path(__file__).parents[3] / "golden" / "mappings"
MAPPING = """
name = "shop"
consent = "given"
consent_note = "test"
[events]
file = "orders*.csv"
user_id = "customer"
session_id = "order"
item_id = "sku"
occurred_at = "day"
time_format = "%d.%m.%Y"
event_type = "what"
quantity = "pieces"
value = "paid"
currency = "currency"
[items]
file = "products.csv"
item_id = "sku"
title = "title"
price = "price"
"""
HEADER = "customer,order,sku,day,what,pieces,paid,currency,note"
PRODUCTS = ["sku,title,price", *(f"{n:03},Lamp {n},{n}.50" for n in range(60))]


def order(n: int, **other: str) -> str:
    row = {
        "customer": f"c{n % 9}",
        "order": f"o{n}",
        "sku": f"{n % 50:03}",
        "day": f"{n % 28 + 1:02}.03.2024",
        "what": "purchase",
        "pieces": str(n % 3 + 1),
        "paid": str((n % 50 + 0.5) * (n % 3 + 1)),
        "currency": "EUR" if n % 2 else "",
        "note": "",
    } | other
    return ",".join(row.values())


def shop(folder: Path, orders: Iterable[str], mapping: str = MAPPING, products: Sequence[str] = PRODUCTS) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "shop.toml").write_text(mapping)
    (folder / "products.csv").write_text("\n".join(products) + "\n")
    (folder / "orders.csv").write_text("\n".join([HEADER, *orders]) + "\n")
    return str(folder / "shop.toml")


def checked(folder: Path, orders: Iterable[str], mapping: str = MAPPING, products: Sequence[str] = PRODUCTS) -> Any:
    return check_mapping(shop(folder, orders, mapping, products), [str(folder)])


def of(result: Any, part: str) -> Any:
    [table] = [table for table in result["tables"] if table["part"] == part]
    return table


def guesses(result: Any) -> set[str]:
    return {guess["id"] for table in result["tables"] for guess in table["suspicions"]}


def test_a_sound_shop_is_accepted_and_the_ingest_comes_next(tmp_path: Path) -> None:
    result = checked(tmp_path, map(order, range(100)))

    assert result["accepted"]
    assert result["next"] == f"tailorbird ingest {tmp_path / 'shop.toml'} {tmp_path}"
    events = of(result, "events")
    assert events["counts"]["accepted"] == 100
    assert (events["columns"]["user_id"], events["unused"]) == (["customer"], ["note"])
    assert guesses(result) == set()


def test_a_mapping_without_events_is_named_so_before_the_next_command(tmp_path: Path) -> None:
    mapping = MAPPING.replace(MAPPING[MAPPING.index("[events]") : MAPPING.index("[items]")], "")
    result = checked(tmp_path, [order(1)], mapping)
    assert result["accepted"]
    assert result["verdict"].startswith("This mapping has no events: nothing can be recommended from its rows alone.")
    assert "no events" not in checked(tmp_path / "whole", map(order, range(60)))["verdict"]


def test_a_mapping_without_items_states_what_becomes_of_ids_that_no_catalogue_has(tmp_path: Path) -> None:
    single = MAPPING[: MAPPING.index("[items]")]
    [note] = checked(tmp_path / "a", map(order, range(60)), single)["notes"]
    assert "this mapping has no [items]. An ingest takes ids that no catalogue has" in note
    waits = checked(tmp_path / "b", map(order, range(60)), f'unknown_items = "quarantine"\n{single}')
    assert "rows whose item no ingested catalogue has wait as item_not_in_catalogue" in waits["notes"][0]


def test_examples_are_records_as_they_would_be_stored_with_the_id_of_the_file(tmp_path: Path) -> None:
    result = checked(tmp_path, map(order, range(100)))

    first = of(result, "events")["examples"][0]
    assert first["user_id"] == "c0"
    assert (first["item_id"], first["event_type"], first["value"]) == ("000", "purchase", 0.5)
    assert first["occurred_at"].isoformat() == "2024-03-01T00:00:00+00:00"
    assert of(result, "items")["examples"][1] == {"item_id": "001", "title": "Lamp 1", "price": 1.5}


def test_a_broken_rule_is_counted_and_shown_with_lines_and_cells(tmp_path: Path) -> None:
    rows = [order(n, pieces="0") if n in (3, 7) else order(n) for n in range(100)]
    rows[0] = order(0, note='"two\nlines"')

    [rule] = of(checked(tmp_path, rows), "events")["broken"]

    assert (rule["rule"], rule["rows"]) == ("quantity_not_positive", 2)
    # The first row takes two lines, the header one.
    assert rule["examples"] == [{"line": 6, "cells": {"pieces": "0"}}, {"line": 10, "cells": {"pieces": "0"}}]


def test_too_many_bad_rows_are_refused_and_the_same_check_comes_next(tmp_path: Path) -> None:
    result = checked(tmp_path, (order(n, pieces="0") for n in range(100)))

    assert not result["accepted"]
    assert "100% of the rows break quantity_not_positive" in of(result, "events")["refused"]
    assert result["next"].startswith("tailorbird check ")


def test_events_without_a_catalogue_are_not_held_against_one(tmp_path: Path) -> None:
    mapping = shop(tmp_path, (order(n, sku="unheard-of") for n in range(100)))

    result = check_mapping(mapping, [str(tmp_path / "orders.csv")])

    assert result["accepted"]
    assert any("not compared with a catalogue" in note for note in result["notes"])


def test_only_the_first_rows_of_a_long_file_are_read(tmp_path: Path) -> None:
    mapping = shop(tmp_path, map(order, range(3_000)))

    events = of(check_mapping(mapping, [str(tmp_path)], most=500), "events")

    assert (events["rows"], events["whole_file"]) == (500, False)


def test_of_many_files_the_first_the_last_and_some_between_are_looked_at(tmp_path: Path) -> None:
    mapping = shop(tmp_path, map(order, range(20)))
    for n in range(30):
        (tmp_path / f"orders-{n:02}.csv").write_text("\n".join([HEADER, *map(order, range(20))]))

    result = check_mapping(mapping, [str(tmp_path)])

    looked_at = [Path(table["file"]).name for table in result["tables"] if table["part"] == "events"]
    assert len(looked_at) == 5
    assert looked_at[-1] == "orders.csv"
    assert "5 of 31 files for events were looked at." in result["notes"]


def test_nothing_is_written_beside_the_files_and_nothing_has_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("TAILORBIRD_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    monkeypatch.chdir(tmp_path)
    mapping = shop(tmp_path, map(order, range(50)))
    before = sorted(tmp_path.rglob("*"))

    assert check_mapping(mapping, [str(tmp_path)])["accepted"]

    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "guess"),
    [
        ({"sku": "x-{n}"}, "item_ids_not_in_catalogue"),
        ({"customer": "c{n}@shop.example"}, "user_ids_are_addresses"),
        ({"pieces": "-1"}, "negative_quantities"),
        ({"what": "gekauft"}, "event_types_not_translated"),
        ({"currency": "EUR"}, "one_currency"),
        ({"day": "03/{n:02}/2024"}, "unreadable_cells"),
        ({"paid": '"1,50"'}, "unreadable_cells"),
        ({"order": "o1", "sku": "001", "customer": "c1", "day": "01.03.2024"}, "many_duplicates"),
    ],
)
def test_values_that_look_wrong_are_pointed_out(change: dict[str, str], guess: str, tmp_path: Path) -> None:
    rows = [order(n, **{name: text.format(n=n % 28 + 1) for name, text in change.items()}) for n in range(100)]
    assert guess in guesses(checked(tmp_path, rows))


def test_the_lines_for_negative_amounts_name_the_columns_of_the_file_and_read_refunds(tmp_path: Path) -> None:
    rows = [order(n, paid="-4.5" if n % 10 else "4.5") for n in range(100)]
    [guess] = [one for one in of(checked(tmp_path, rows), "events")["suspicions"] if one["id"] == "negative_quantities"]
    kept = [line for line in MAPPING.splitlines() if not line.startswith(("event_type", "value"))]
    mapping = "\n".join(kept).replace("[events]", f"[events]\n{guess['write']}")

    assert of(checked(tmp_path, rows, mapping), "events")["counts"]["accepted"] == 100


def test_a_catalogue_with_other_prices_than_customers_paid_is_named_and_the_lines_offered_agree(tmp_path: Path) -> None:
    guest = [n % 3 == 0 or n > 290 for n in range(300)]
    lines = [
        f"{'' if guest[n] else f'c{n % 9}'},{n % 7},2024-03-{n // 12 + 1:02},{9.5 if guest[n] else 2.5}"
        for n in range(300)
    ]
    (tmp_path / "lines.csv").write_text("\n".join(["customer,sku,day,price", *lines]) + "\n")
    events, items = (
        'file = "lines.csv"\nwhere = "customer is not null"\nuser_id = "customer"\nitem_id = "sku"\noccurred_at = "day"'
        '\nconstants = { event_type = "purchase" }\nvalue = "price"\n',
        'file = "lines.csv"\nitem_id = "sku"\ntitle = "sku"\nprice = "price"\nchoose = { price = "latest" }\n'
        'updated_at = "day"\n',
    )

    def check(items: str) -> Any:
        head = 'name = "shop"\nconsent = "given"\nconsent_note = "test"\n'
        (tmp_path / "shop.toml").write_text(f"{head}[events]\n{events}[items]\n{items}")
        return check_mapping(str(tmp_path / "shop.toml"), [str(tmp_path / "lines.csv")])

    [guess] = [one for one in of(check(items), "items")["suspicions"] if one["id"] == "prices_nobody_paid"]
    assert "customers paid 2.50 in the median" in guess["says"]
    price, choose = guess["write"].splitlines()
    assert choose == 'choose = { price = "recent" }'
    fixed = items.replace('price = "price"', price, 1).replace('choose = { price = "latest" }', choose)
    result = check(fixed)
    assert "prices_nobody_paid" not in guesses(result)
    assert {row["price"] for row in of(result, "items")["examples"]} == {2.5}


def test_a_shop_without_agreements_gets_a_message_with_the_flags_that_help(tmp_path: Path) -> None:
    mapping = MAPPING.replace('consent = "given"\nconsent_note = "test"', 'consent = "opt-in"')

    result = checked(tmp_path, map(order, range(100)), mapping)

    assert result["accepted"]
    assert "nobody_agreed" in guesses(result)
    assert of(result, "events")["counts"]["suppressed"] == 100
    assert of(result, "events")["examples"][0]["user_id"] == "c0"
    assert "--consent given --consent-note" in result["next"]


def test_rows_of_one_item_that_differ_and_empty_titles_are_named(tmp_path: Path) -> None:
    products = [*PRODUCTS, "003,Spade,99", "004,Lamp 4,4.50", "005,Lamp 5,6.00", "077,,1", "078, ,2"]

    items = of(checked(tmp_path, map(order, range(100)), products=products), "items")

    sentence = {guess["id"]: guess["says"] for guess in items["suspicions"]}
    assert sentence["several_rows_of_an_id"] == (
        "2 ids have rows that differ in price, title, such as line 5 and line 62; line 7 and line 64. The last row "
        "counts. `choose` in the mapping sets another rule."
    )
    assert sentence["items_without_title"] == "2 of 62 items have no title. Lists show them as 'Item 077', 'Item 078'."


def test_rows_that_a_mapping_chooses_from_are_no_reason_for_doubt(tmp_path: Path) -> None:
    products = [*PRODUCTS, "003,Spade,99"]

    result = checked(tmp_path, map(order, range(100)), MAPPING + 'choose = "most_frequent"\n', products)

    assert guesses(result) == set()


ASKING = MAPPING.replace('consent = "given"\nconsent_note = "test"', 'consent = "opt-in"') + (
    '[users]\nfile = "users.csv"\nuser_id = "id"\nattributes = ["plan"]\nconsent = "agreed"\n'
)


def requested(folder: Path, *answers: str, files: Sequence[str] = ("orders.csv", "users.csv")) -> Any:
    mapping = shop(folder, map(order, range(90)), ASKING)
    (folder / "users.csv").write_text("\n".join(["id,plan,agreed", *answers]) + "\n")
    return check_mapping(mapping, [str(folder / name) for name in files])


def test_orders_without_the_file_of_answers_never_lead_to_a_declaration(tmp_path: Path) -> None:
    result = requested(tmp_path, "c0,gold,no", files=["orders.csv"])

    [guess] = of(result, "events")["suspicions"]
    assert "Consent is in the column 'agreed' of the customer file (users.csv)" in guess["says"]
    assert guess["write"] == ""
    assert result["next"] == f"tailorbird ingest {tmp_path / 'shop.toml'} {tmp_path / 'orders.csv'}"
    assert "stored answer" in result["verdict"]


@pytest.mark.parametrize("answers", [[f"c{n},gold,no" for n in range(9)], ["other,gold,yes"]])
def test_users_who_did_not_agree_are_never_declared_to_have_agreed(tmp_path: Path, answers: list[str]) -> None:
    result = requested(tmp_path, *answers)

    assert "users_did_not_agree" in guesses(result)
    assert result["verdict"].startswith("No event would come in.")
    assert result["next"].startswith("tailorbird check ")
    assert "given" not in result["next"]


def test_events_that_all_refuse_are_never_declared_to_agree(tmp_path: Path) -> None:
    mapping = MAPPING.replace('consent = "given"\nconsent_note = "test"', 'consent = "opt-out"')
    mapping = mapping.replace("[events]", '[events]\nconsent = "note"')

    result = checked(tmp_path, (order(n, note="no") for n in range(90)), mapping)

    assert "users_did_not_agree" in guesses(result)
    assert "given" not in result["next"]


@pytest.mark.parametrize("name", ["personalize", "content", "wholesale"])
def test_the_mappings_that_come_along_are_checked_by_name(name: str) -> None:
    result = check_mapping(name, [str(GOLDEN / name)], {"consent": "given", "consent_note": "test"})
    events = of(result, "events")
    assert events["counts"]["read"] > 0
    assert events["examples"] or events["refused"]


def test_a_segment_export_is_checked_with_names_that_stand_for_nothing(tmp_path: Path) -> None:
    calls = [viewed(n, userId=f"u{n % 7}") for n in range(50)]
    own = [call(n, event="Recipe Cooked", properties={"product_id": "p1"}) for n in range(50, 53)]
    file = write(tmp_path / "calls.jsonl", *calls, *own, b"{no json")

    result = check_mapping("segment", [file], {"consent": "given", "consent_note": "test"})

    [table] = result["tables"]
    assert result["accepted"]
    assert table["counts"]["read"] == 54
    assert table["counts"]["accepted"] == 50
    assert table["examples"][0]["user_id"] == "u0"
    assert all(rule["advice"] for rule in table["broken"])
    assert [(rule["rule"], rule["examples"]) for rule in table["broken"]] == [("unreadable: not_json", [{"line": 54}])]
    [guess] = table["suspicions"]
    assert '"Recipe Cooked" = ' in guess["write"]


def test_the_verdict_is_that_of_the_ingest(installation: Installation, tmp_path: Path) -> None:
    assert installation.engine
    shops = {
        "sound": [order(n) for n in range(100)],
        "few": [order(n, pieces="0" if n % 20 == 0 else "1") for n in range(100)],
        "many": [order(n, pieces="0" if n % 3 == 0 else "1") for n in range(101)],
        "unknown": [order(n, sku="x" if n % 5 == 0 else "001") for n in range(102)],
        "untimed": [order(n, day="soon" if n % 4 == 0 else "01.03.2024") for n in range(103)],
    }
    expected, result = {}, {}
    for name, rows in shops.items():
        mapping = shop(tmp_path / name, [row.replace(",o", f",{name}-") for row in rows])
        result[name] = check_mapping(mapping, [str(tmp_path / name)])["accepted"]
        ingest_items.fn(mapping, str(tmp_path / name / "products.csv"))
        try:
            ingest_events.fn(mapping, str(tmp_path / name / "orders.csv"))
            expected[name] = True
        except TailorbirdError:
            expected[name] = False
    assert result == expected
    assert set(expected.values()) == {True, False}


def test_a_mapping_without_location_names_the_check_and_the_file_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(tmp_path, [])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TailorbirdError, match=r"Give the files: tailorbird check shop\.toml PATH…"):
        check_mapping("shop.toml")


def test_a_large_share_in_quarantine_comes_with_the_settings_that_bring_it_in(tmp_path: Path) -> None:
    orders = [order(n, day=f"2024-03-{n % 28 + 1:02}") if n % 6 == 0 else order(n) for n in range(120)]
    result = checked(tmp_path, orders)

    assert result["verdict"] == (
        "An ingest would accept these rows, and put 16.7% of the events (20 of 120) into quarantine, mostly as "
        'occurred_at_unreadable. First: write time_format = ["%d.%m.%Y", "%Y-%m-%d"] in [events]. Then, or to leave '
        "them there:"
    )
    assert result["next"] == f"tailorbird ingest {tmp_path / 'shop.toml'} {tmp_path}"

    both = MAPPING.replace('"%d.%m.%Y"', '["%d.%m.%Y", "%Y-%m-%d"]')
    assert checked(tmp_path, orders, both)["verdict"] == "An ingest would accept these rows. Next:"


def test_a_large_share_that_no_setting_brings_in_comes_with_the_advice_of_its_rule(tmp_path: Path) -> None:
    result = checked(tmp_path, [order(n, sku="x") if n % 20 == 0 else order(n) for n in range(100)])

    assert "5.0% of the events (5 of 100) into quarantine, mostly as item_not_in_catalogue." in result["verdict"]
    assert "First: Ingest the catalogue that has the item" in result["verdict"]


def test_a_detected_encoding_is_proposed_to_be_stated(tmp_path: Path) -> None:
    path = shop(tmp_path, map(order, range(40)))
    german = ["sku,title,price", *(f"{n:03},Müsli,{n}.50" for n in range(60))]
    (tmp_path / "products.csv").write_text("\n".join(german), encoding="cp1252")

    [guess] = of(check_mapping(path, [str(tmp_path)]), "items")["suspicions"]
    assert (guess["id"], guess["write"]) == ("encoding_not_stated", 'encoding = "windows-1252"')
    assert "'Müsli'" in guess["says"]


@pytest.mark.parametrize("title", ["Shop Ltd;;\n\n", "Shop Ltd\n\n"])
def test_a_title_above_the_header_is_refused_with_the_key_that_skips_it(tmp_path: Path, title: str) -> None:
    mapping = f'{MAPPING}separator = ";"\n'
    path = shop(tmp_path, map(order, range(40)), mapping)
    rows = "".join(f"{n:03};Lamp {n};{'free' if n == 30 else f'{n}.50'}\n" for n in range(60))
    (tmp_path / "products.csv").write_text(f"{title}sku;title;price\n{rows}")

    refused = of(check_mapping(path, [str(tmp_path)]), "items")["refused"]
    assert "eader seems to be in line 3: write `skip_lines = 2`" in refused
    (tmp_path / "shop.toml").write_text(f"{mapping}skip_lines = 2\n")
    items = of(check_mapping(path, [str(tmp_path)]), "items")
    assert items["counts"]["read"] == 60
    assert items["broken"][0]["examples"][0]["line"] == 34, "as an editor shows it"


def test_a_column_that_is_missing_by_a_wrong_encoding_comes_with_the_right_one(tmp_path: Path) -> None:
    path = shop(tmp_path, map(order, range(40)), MAPPING.replace('title = "title"', 'title = "Opis części"'))
    rows = "".join(f"{n:03},Łańcuch gęsi {n},{n}.50\n" for n in range(60))
    (tmp_path / "products.csv").write_text(f"sku,Opis części,price\n{rows}", encoding="cp1250")

    items = of(check_mapping(path, [str(tmp_path)]), "items")
    assert "'Opis części' is missing" in items["refused"]
    assert [guess["write"].splitlines()[0] for guess in items["suspicions"]] == ['encoding = "windows-1250"']


def test_the_next_command_is_no_ingest_that_would_be_refused_even_with_consent(tmp_path: Path) -> None:
    undeclared = MAPPING.replace('consent = "given"\nconsent_note = "test"\n', "")
    czech = [order(n, day=f"{n % 28 + 1}. 3. 2024") for n in range(120)]
    result = checked(tmp_path, [*czech, *map(order, range(120, 150))], undeclared)

    assert result["next"].startswith("tailorbird check ")
    assert result["verdict"].startswith(
        "No event would come in. With consent an ingest would refuse the file: 120 of 150 rows would wait in "
        'quarantine as occurred_at_unreadable. First: write time_format = ["%d.%m.%Y", "%d. %m. %Y"] in [events].'
    )
