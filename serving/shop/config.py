"""Settings of the storefront."""

from dataclasses import dataclass, field
from typing import Final

BUDGET_SECONDS: Final = 0.3
PORT: Final = 8080
"""The port of the shop, if it is free."""


@dataclass(frozen=True)
class ShopConfig:
    """Where the API is, and with which keys the shop calls it."""

    api: str
    """The address of the API."""
    key: str = field(repr=False)
    """A key that reads and writes, and makes requests of households about their data."""
    collect_key: str = field(repr=False)
    """A key with which the shop sends events."""
    cookie_secret: bytes = field(repr=False)
    """Signs cookies and the tokens of forms."""
    households: tuple[str, ...] = ()
    """Users whom the page of the sign-in offers."""
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    """Host names under which browsers may open the shop."""
    is_https: bool = False
    budget_seconds: float = BUDGET_SECONDS
    """The time that one page waits for the API. What is missing then comes from memory, or is left out."""
    pictures_from: tuple[str, ...] = ()
    """Addresses, with a slash at the end, below which the shop fetches pictures. Others could be of its own network."""
