"""A check names the obstacles to an ingest, with settings to paste and the given command."""

from pathlib import Path

import pytest

from models.errors import TailorbirdError
from tasks.ingest.check.check_mapping import check_mapping
from tests.tasks.ingest.check.test_check_mapping import MAPPING, PRODUCTS, checked, of, order, shop


def test_a_mapping_without_location_names_the_check_and_the_file_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(tmp_path, [])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TailorbirdError, match=r"Give the files: tailorbird check shop\.toml PATH…"):
        check_mapping("shop.toml")


def test_products_of_unknown_stock_keep_their_orders_and_the_words_come_with_their_key(tmp_path: Path) -> None:
    products = ["sku,title,price,Stan"] + [f"{row},{'brak' if n % 9 == 0 else n}" for n, row in enumerate(PRODUCTS[1:])]
    result = checked(tmp_path, map(order, range(100)), f'{MAPPING}available = "Stan"\n', products)

    items = of(result, "items")
    assert (items["counts"]["quarantined"], of(result, "events")["counts"]["quarantined"]) == (0, 0)
    [guess] = items["suspicions"]
    assert "7 answers of 'Stan' (available) cannot be read: 'brak' (7)" in guess["says"]
    assert guess["write"] == "available_words = { brak = false }"


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


def test_a_share_that_refuses_the_file_comes_after_its_cause_and_before_the_key_of_the_limit(tmp_path: Path) -> None:
    orders = [order(n, day=f"2024-03-{n % 28 + 1:02}") if n % 3 == 0 else order(n) for n in range(120)]
    assert of(checked(tmp_path, orders), "events")["refused"] == (
        "40 of 120 rows would wait in quarantine as occurred_at_unreadable. First: write "
        'time_format = ["%d.%m.%Y", "%Y-%m-%d"] in [events]. quarantined_share is 0.3333, and at most 0.2 is expected. '
        "To allow it, set `limits.events.quarantined_share` in the mapping"
    )


def test_a_large_share_that_no_setting_brings_in_comes_with_the_advice_of_its_rule(tmp_path: Path) -> None:
    result = checked(tmp_path, [order(n, sku="x") if n % 20 == 0 else order(n) for n in range(100)])

    assert "5.0% of the events (5 of 100) into quarantine, mostly as item_not_in_catalogue." in result["verdict"]
    assert "First: Ingest the catalogue that has the item" in result["verdict"]


def test_letters_that_fit_another_encoding_are_shown_with_the_encoding_to_write(tmp_path: Path) -> None:
    polish = ["sku,title,price", *(f"{n:03},Łańcuch gęsi żółty śliwa,{n}.50" for n in range(60))]
    path = shop(tmp_path, map(order, range(40)))
    (tmp_path / "products.csv").write_text("\n".join(polish), encoding="cp1250")

    [guess] = of(check_mapping(path, [str(tmp_path)]), "items")["suspicions"]
    assert guess["id"] == "encoding_may_be_another"
    assert guess["write"].splitlines()[0] == 'encoding = "windows-1250"'
    (tmp_path / "shop.toml").write_text(f'{MAPPING}encoding = "windows-1250"\n')
    assert of(check_mapping(path, [str(tmp_path)]), "items")["suspicions"] == []


def test_a_detected_encoding_is_proposed_to_be_stated(tmp_path: Path) -> None:
    path = shop(tmp_path, map(order, range(40)))
    german = ["sku,title,price", *(f"{n:03},Müsli,{n}.50" for n in range(60))]
    (tmp_path / "products.csv").write_text("\n".join(german), encoding="cp1252")

    [guess] = of(check_mapping(path, [str(tmp_path)]), "items")["suspicions"]
    assert (guess["id"], guess["write"]) == ("encoding_not_stated", 'encoding = "windows-1252"')
    assert "'Müsli'" in guess["says"]


TITLES = ["Shop Ltd;;\n\n", "Shop Ltd\n\n"]


@pytest.mark.parametrize("title", TITLES)
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
