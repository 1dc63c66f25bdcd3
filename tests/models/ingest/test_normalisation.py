from typing import Any

import pyarrow as pa
import pytest

from models.ingest.currencies import CODES, NAMES
from models.ingest.normalisation import brands, categories, currencies


def texts(*said: str | None) -> pa.Array:
    return pa.array(said, pa.string())


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("EUR", "EUR"),
        (" eur ", "EUR"),
        ("€", "EUR"),
        ("Euro", "EUR"),
        ("$", "USD"),
        ("us dollars", "USD"),
        ("US  Dollars", "USD"),
        ("£", "GBP"),
        ("¥", "JPY"),
        ("zł", "PLN"),
        ("moon money", "moon money"),
        (" ", None),
        (None, None),
    ],
)
def test_a_currency_becomes_its_code_or_stays_for_a_rule_to_find(said: str | None, code: str | None) -> None:
    found, count = currencies(texts(said), {})
    assert found.to_pylist() == [code]
    assert count == (said != code)


def test_a_mapping_names_further_currencies_and_what_a_sign_means_here() -> None:
    found, count = currencies(texts("Taler", "$", "USD", "TALER "), {"taler": "EUR", "$": "CAD"})
    assert (found.to_pylist(), count) == (["EUR", "CAD", "USD", "EUR"], 3)


def test_names_lead_to_codes_and_none_of_them_is_a_code() -> None:
    assert set(NAMES.values()) <= CODES
    assert not set(NAMES) & CODES
    assert all(name == name.upper() for name in NAMES)
    assert all(len(code) == 3 and code.isalpha() for code in CODES)


def test_brands_are_spelt_as_declared_and_nothing_is_guessed() -> None:
    said = texts("ADIDAS  ag", " Adidas", "adidas", "Puma", None)
    found, count = brands(said, {"adidas AG": "Adidas", "adidas": "Adidas"})
    assert (found.to_pylist(), count) == (["Adidas", "Adidas", "Adidas", "Puma", None], 3)


def test_each_level_of_a_category_is_spelt_by_itself() -> None:
    said = texts("Clothes|t-shirts", "T-SHIRTS", "Clothes|T-shirts|Long t-shirts", None)
    found, count = categories(said, {"T-Shirts": "T-shirts", "clothes": "Clothing"})
    expected = ["Clothing|T-shirts", "T-shirts", "Clothing|T-shirts|Long t-shirts", None]
    assert (found.to_pylist(), count) == (expected, 3)


@pytest.mark.parametrize("mend", [brands, categories, currencies])
def test_what_is_spelt_right_comes_back_untouched(mend: Any) -> None:
    for said in (texts("USD", None, "USD"), texts(), texts(None), pa.chunked_array([texts("EUR"), texts("USD")])):
        found, count = mend(said, {"Taler": "EUR"})
        assert found is said
        assert count == 0
