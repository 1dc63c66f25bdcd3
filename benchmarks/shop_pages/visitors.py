"""The pages of the storefront, as an anonymous visitor and as households ask for them."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from benchmarks.serve.load import Load
from benchmarks.serve.traffic import Traffic
from infra.configuration.settings import Settings
from infra.keys.credentials import secret
from serving.shop.visits import COOKIE, Visit, written

HOME: Final = "home"
_HOUSEHOLDS: Final = 4
_PRODUCTS: Final = 50
_SEARCHES: Final = ("milk", "white+bread", "ch", "soft+drinks", "eggs")
_SHELVES: Final = b'class="shelf"'
_CARDS: Final = b'class="cards"'


def cookies_of(settings: Settings, asked: Traffic) -> list[str]:
    """Return the cookies of an anonymous visit and of households, all with two products in the basket."""
    nobody = Visit.new().added(asked.baskets[0])
    households = list(dict.fromkeys(asked.users))[:_HOUSEHOLDS]
    visits = [nobody, *(nobody.agreeing().signed_in(user) for user in households)]
    return [written(visit, secret(settings, "shop-cookies").encode()) for visit in visits]


def visitor_pages(address: str, asked: Traffic, cookies: Sequence[str]) -> Mapping[str, list[Load]]:
    """Return the requests for each kind of page, for one visitor after the other."""
    items = list(dict.fromkeys(item for pair in asked.baskets for item in pair))[:_PRODUCTS]
    pages: dict[str, tuple[Sequence[str], bytes]] = {
        HOME: (["/"], _SHELVES),
        "product": ([f"/products/{quote(item, safe='')}" for item in items], _SHELVES),
        "search": ([f"/search?q={words}" for words in _SEARCHES], _CARDS),
        "basket": (["/basket"], _SHELVES),
    }
    return {
        name: [Load(address, paths, {"Cookie": f"{COOKIE}={cookie}"}, connections=8, meant=shown) for cookie in cookies]
        for name, (paths, shown) in pages.items()
    }
