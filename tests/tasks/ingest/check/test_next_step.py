"""A check names what stands in the way of an ingest, with settings ready to paste and the command as it was given."""

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
    found = checked(tmp_path, map(order, range(100)), f'{MAPPING}available = "Stan"\n', products)

    items = of(found, "items")
    assert (items["counts"]["quarantined"], of(found, "events")["counts"]["quarantined"]) == (0, 0)
    [guess] = items["suspicions"]
    assert "7 answers of 'Stan' (available) cannot be read: 'brak' (7)" in guess["says"]
    assert guess["write"] == "available_words = { brak = false }"
