"""What products look like: titles, prices and icons."""

import re
import zipfile
from importlib.resources import files
from io import BytesIO

import pytest

from serving.shop.looks import NO_CATEGORY, drawn, icon, money, tidied


@pytest.mark.parametrize(
    ("title", "shown", "size"),
    [
        ("FLUID MILK WHITE ONLY", "Fluid milk white only", ""),
        ("Fluid milk white only 1 GA", "Fluid milk white only", "1 ga"),
        ("Fluid milk white only, 1 ga", "Fluid milk white only", "1 ga"),
        ("PRESERVES  JAM MARMALADE,   L     32 OZ", "Preserves jam marmalade", "32 oz"),
        ("Soft drink powder pouches, .86 oz", "Soft drink powder pouches", ".86 oz"),
        ("Ramen noodles/ramen cups, 12/3 oz", "Ramen noodles/ramen cups", "12/3 oz"),
        ("Shelf liners, 18 x5 ft", "Shelf liners", "18 x5 ft"),
        ("Easter plush, 18 in/asst", "Easter plush", "18 in/asst"),
        ("Candy bars (singles)(including, 3.45 oz", "Candy bars (singles)", "3.45 oz"),
        ("Dairy case 100% pure juice - o, 64 oz", "Dairy case 100% pure juice", "64 oz"),
        ("Sugar, (600), 4 lb", "Sugar", "4 lb"),
        ("Meat:ham bulk", "Meat: ham bulk", ""),
        ("Onions sweet (bulk&bag)", "Onions sweet (bulk & bag)", ""),
        ("M&M peanut", "M&M peanut", ""),
        ("Vitamin C 60 CT", "Vitamin C", "60 ct"),
        ("iPhone 15 Pro", "iPhone 15 Pro", ""),
        ("USB", "USB", ""),
        ("Item 33", "Item 33", ""),
        ("Größe 3", "Größe 3", ""),
        ("(odd", "(odd", ""),
        (" ", " ", ""),
    ],
)
def test_a_title_is_shown_without_capitals_doubled_spaces_and_codes(title: str, shown: str, size: str) -> None:
    assert tidied(title) == (shown, size)
    assert tidied(shown)[0] == shown


@pytest.mark.parametrize(
    ("category", "name"),
    [
        ("GROCERY|FLUID MILK PRODUCTS|FLUID MILK WHITE ONLY", "milk"),
        ("MEAT|BEEF|PRIMAL", "beef"),  # its most special level says nothing
        ("GROCERY|BAKED BREAD/BUNS/ROLLS|HOT DOG BUNS", "wheat"),
        ("GROCERY|DOG FOODS", "dog"),
        ("Garten|Blumen", NO_CATEGORY),
        ("", NO_CATEGORY),
    ],
)
def test_the_most_special_level_with_an_icon_chooses_it(category: str, name: str) -> None:
    assert icon(category) == name


def test_every_icon_is_in_the_package_and_hidden_from_screen_readers() -> None:
    stored = zipfile.ZipFile(BytesIO((files("lucide") / "lucide.zip").read_bytes()))
    names = {name.removesuffix(".svg") for name in stored.namelist()}
    lines = (files("serving.shop") / "icons.toml").read_text()
    chosen = {*re.findall(r"^([a-z-]+) = ", lines, re.MULTILINE), NO_CATEGORY}
    assert chosen <= names
    for name in sorted(chosen)[:3]:
        assert drawn(name).startswith("<svg")
        assert 'aria-hidden="true"' in drawn(name)
        assert "http" not in drawn(name)


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [(2.5, "USD", "$2.50"), (1234.5, "EUR", "€1,234.50"), (3, "CHF", "3.00 CHF"), (0.999, None, "1.00")],
)
def test_an_amount_is_shown_in_its_currency(amount: float, currency: str | None, shown: str) -> None:
    assert money(amount, currency) == shown
