"""The pages of operators, with and without a draft, and of the storefront's visitors. No request stores anything."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlencode

import httpx

from benchmarks.serve.load import Load, LoadError
from benchmarks.serve.traffic import PLACEMENT, Traffic
from infra.configuration.settings import Settings
from infra.keys.credentials import secret
from infra.services.database_access.logins import OPERATOR_PAGE
from serving.api.operators.pages.page import COOKIE as OPERATOR_COOKIE
from serving.api.operators.pages.page import HOME, SIGN_IN
from serving.shop.visits import COOKIE, Visit, written

_PATH: Final = f"{HOME}/placements/{PLACEMENT}"
_SEARCH: Final = "milk"
_LINK: Final = re.compile(rf'href="({HOME}/placements/[^"]+)"')
_CHOICE: Final = re.compile(r'name="about" value="([^"]+)"')
_CURRENT: Final = b"Under the current rules"
_DRAFT: Final = b"Under the draft"
SHOP_HOME: Final = "home"
_HOUSEHOLDS: Final = 4
_PRODUCTS: Final = 50
_SEARCHES: Final = ("milk", "white+bread", "ch", "soft+drinks", "eggs")
_SHELVES: Final = b'class="shelf"'
_CARDS: Final = b'class="cards"'


def operator_pages(address: str, asked: Traffic, settings: Settings) -> Mapping[str, list[Load]]:
    """Return the requests to the API at this address for each kind of page, after a sign-in."""
    with httpx.Client(base_url=address, timeout=30, follow_redirects=True) as browser:
        desk = _Desk(browser, asked.users[0])
        overview = desk.sign_in(secret(settings, OPERATOR_PAGE))
        headers = {"Cookie": f"{OPERATOR_COOKIE}={browser.cookies[OPERATOR_COOKIE]}"}
        forms = headers | {"Content-Type": "application/x-www-form-urlencoded"}
        drafts = [body for draft in desk.drafts() for body in desk.previews(draft)]

        def get(paths: list[str], shown: bytes) -> list[Load]:
            return [Load(address, paths, headers, connections=8, meant=shown)]

        def post(step: str, bodies: list[str], shown: bytes) -> list[Load]:
            return [Load(address, [f"{_PATH}/{step}"], forms, body, connections=8, meant=shown) for body in bodies]

        return {
            "operator_overview": get([HOME], b'id="ledger"'),
            "operator_placement": get(list(dict.fromkeys(_LINK.findall(overview))), b'id="rules"'),
            "operator_history": get([f"{HOME}/history"], b"History of rules"),
            "operator_preview": post("preview", desk.previews(desk.draft), _CURRENT),
            "operator_draft": post("preview", drafts, _DRAFT),
            "operator_rule": post("add", [urlencode(desk.added(desk.choices[0], "pin"))], _DRAFT),
        }


class _Desk:
    """A browser of an operator."""

    def __init__(self, browser: httpx.Client, household: str) -> None:
        """Preview the lists of a household, and of a visitor without an account."""
        self._browser, self._users = browser, (household, "")
        self.token = self.draft = ""
        self.choices: list[str] = []
        """What rules can be about after a search: products, then categories and brands."""

    def sign_in(self, password: str) -> str:
        """Sign in, and open the page of a placement; return the overview."""
        form = self._browser.get(SIGN_IN).text
        who = {"token": _field(form, "token"), "name": "benchmark", "password": password}
        overview = self._browser.post(SIGN_IN, data=who).text
        page = self._browser.get(_PATH).text
        self.token, self.draft = _field(page, "token"), _field(page, "draft")
        found = self._sent("search", {"q": _SEARCH})
        self.choices = [html.unescape(value) for value in _CHOICE.findall(found)]
        return overview

    def added(self, about: str, act: str) -> dict[str, str]:
        """Return the form that adds a rule."""
        return {**self._carried, "q": _SEARCH, "about": about, "act": act, "user": self._users[0]}

    def drafts(self) -> list[str]:
        """Return drafts of a pin, of a hidden product and of a boosted category."""
        category = next(value for value in self.choices if value.startswith("category:"))
        rules = (self.choices[0], "pin"), (self.choices[0], "hide"), (category, "boost")
        return [_field(self._sent("add", self.added(about, act)), "draft") for about, act in rules]

    def previews(self, draft: str) -> list[str]:
        """Return a form for each user whose list is shown."""
        return [urlencode({**self._carried, "draft": draft, "user": user}) for user in self._users]

    @property
    def _carried(self) -> dict[str, str]:
        return {"token": self.token, "draft": self.draft}

    def _sent(self, step: str, fields: Mapping[str, str]) -> str:
        return self._browser.post(f"{_PATH}/{step}", data={**self._carried, **fields}).raise_for_status().text


def _field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    if found is None:
        raise LoadError(f"A page of operators has no field {name}.")
    return html.unescape(found[1])


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
        SHOP_HOME: (["/"], _SHELVES),
        "product": ([f"/products/{quote(item, safe='')}" for item in items], _SHELVES),
        "search": ([f"/search?q={words}" for words in _SEARCHES], _CARDS),
        "basket": (["/basket"], _SHELVES),
    }
    return {
        name: [Load(address, paths, {"Cookie": f"{COOKIE}={cookie}"}, connections=8, meant=shown) for cookie in cookies]
        for name, (paths, shown) in pages.items()
    }
