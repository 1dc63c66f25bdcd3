"""What a product looks like: a tidy title, a price, and an icon of its category in place of a picture."""

import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from lucide.jinja import lucide

_UNITS: Final = "oz|fz|lb|ga|gal|ct|dz|pk|pc|ft|in|yd|qt|pt|ml|cl|l|g|kg|cm|m|sq ft"
_SIZE: Final = re.compile(rf"(?:,(?: [a-z](?= ))?)? (\.?\d[\d./x -]*(?:{_UNITS})(?:/\w+)?)$", re.IGNORECASE)
_CUT_OFF: Final = re.compile(r",?\s*\((?:\d+\)|[^()]*)$|\s+[-/&+,]\s*\w?$|[\s,;:/&-]+$")
"""What a field that was too short for the title left of its end."""
_TIGHT: Final = re.compile(r"(?<=[A-Za-z]{2})([:&])(?=[A-Za-z]{2})")


def tidied(title: str) -> tuple[str, str]:
    """Return a title to show, and the size that it ended with: capitals, doubled spaces and codes are gone."""
    line = " ".join(title.split())
    size = _SIZE.search(line)
    words = line[: size.start()] if size else line
    whole = _CUT_OFF.sub("", words) or words
    tidy = _TIGHT.sub(lambda sign: ": " if sign[1] == ":" else " & ", whole)
    is_shouted = tidy.upper() == tidy and len(tidy) > _SHORT
    return (tidy[:1] + tidy[1:].lower() if is_shouted else tidy) or title, size[1].lower() if size else ""


_SHORT: Final = 4
"""Capitals of a short title may be a name."""
_SYMBOLS: Final[Mapping[str, str]] = {"USD": "$", "EUR": "€", "GBP": "£"}


def money(amount: float, currency: str | None) -> str:
    """Return an amount in a currency."""
    symbol = _SYMBOLS.get(currency or "")
    return f"{symbol}{amount:,.2f}" if symbol else f"{amount:,.2f} {currency or ''}".strip()


ICONS: Final[Mapping[str, str]] = tomllib.loads(Path(__file__).with_name("icons.toml").read_text())
NO_CATEGORY: Final = "shopping-basket"
_PATTERNS: Final = {
    name: re.compile(rf"\b(?:{'|'.join(words.split())})", re.IGNORECASE) for name, words in ICONS.items()
}


@lru_cache(maxsize=4096)
def icon(category: str) -> str:
    """Return the name of the icon of a category, by the most special level that has one."""
    for level in reversed(category.split("|")):
        for name, pattern in _PATTERNS.items():
            if pattern.search(level):
                return name
    return NO_CATEGORY


@lru_cache(maxsize=128)
def drawn(name: str) -> str:
    """Return an icon as inline SVG, which says nothing to a screen reader."""
    return lucide(name, size=None, aria_hidden="true")
