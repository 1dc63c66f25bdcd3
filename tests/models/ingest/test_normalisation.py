from typing import Any

import pyarrow as pa
import pytest

from models.ingest.currencies import CODES, NAMES
from models.ingest.source_config import brands, categories, currencies


def texts(*text: str | None) -> pa.Array:
    return pa.array(text, pa.string())


@pytest.mark.parametrize(
    ("text", "code"),
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
def test_a_currency_becomes_its_code_or_stays_for_a_rule_to_find(text: str | None, code: str | None) -> None:
    result, count = currencies(texts(text), {})
    assert result.to_pylist() == [code]
    assert count == (text != code)


def test_a_mapping_names_further_currencies_and_what_a_sign_means_here() -> None:
    result, count = currencies(texts("Taler", "$", "USD", "TALER "), {"taler": "EUR", "$": "CAD"})
    assert (result.to_pylist(), count) == (["EUR", "CAD", "USD", "EUR"], 3)


def test_names_lead_to_codes_and_none_of_them_is_a_code() -> None:
    assert set(NAMES.values()) <= CODES
    assert not set(NAMES) & CODES
    assert all(name == name.upper() for name in NAMES)
    assert all(len(code) == 3 and code.isalpha() for code in CODES)


def test_brands_are_spelt_as_declared_and_nothing_is_guessed() -> None:
    text = texts("ADIDAS  ag", " Adidas", "adidas", "Puma", None)
    result, count = brands(text, {"adidas AG": "Adidas", "adidas": "Adidas"})
    assert (result.to_pylist(), count) == (["Adidas", "Adidas", "Adidas", "Puma", None], 3)


def test_each_level_of_a_category_is_spelt_by_itself() -> None:
    text = texts("Clothes|t-shirts", "T-SHIRTS", "Clothes|T-shirts|Long t-shirts", None)
    result, count = categories(text, {"T-Shirts": "T-shirts", "clothes": "Clothing"})
    expected = ["Clothing|T-shirts", "T-shirts", "Clothing|T-shirts|Long t-shirts", None]
    assert (result.to_pylist(), count) == (expected, 3)


@pytest.mark.parametrize("normalise", [brands, categories, currencies])
def test_correct_spellings_come_back_untouched(normalise: Any) -> None:
    for text in (texts("USD", None, "USD"), texts(), texts(None), pa.chunked_array([texts("EUR"), texts("USD")])):
        result, count = normalise(text, {"Taler": "EUR"})
        assert result is text
        assert count == 0
