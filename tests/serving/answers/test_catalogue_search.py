"""The search of the catalogue."""

from dataclasses import dataclass, field, replace
from math import inf

import pytest

from serving.answers.catalogue_search import CatalogueQuery, CatalogueSearch, TitleIndex, TitleWords
from serving.answers.request import Filters
from serving.stores.catalogue import Catalogue, Item

pytestmark = pytest.mark.anyio
TITLES = {
    "1": "Fluid milk, white only",
    "2": "Crème brûlée",
    "3": "Chocolate MILK",
    "4": "Milkshake <script>alert(1)</script>",
    "5": None,
    "6": "Tea",
}
SALES = {"3": 9.0, "1": 5.0, "2": 1.0}


def item(name: str, title: str | None, category: str = "FOOD|DAIRY") -> Item:
    return Item(name, title, None, None, 2.0, "EUR", category, "Acme", True, True, -inf, inf)


@dataclass
class Stock:
    """A catalogue and sales that a test replaces."""

    catalogue: Catalogue
    sales: dict[str, float] = field(default_factory=lambda: dict(SALES))
    digest: str = "1"

    def change(self, name: str, **values: object) -> None:
        self.catalogue = Catalogue.of(self.catalogue.by_id | {name: replace_item(self.catalogue, name, values)}, 0.0)


def replace_item(catalogue: Catalogue, name: str, values: dict[str, object]) -> Item:
    return catalogue.by_id.get(name, item(name, None))._replace(**values)  # type: ignore[arg-type]


@pytest.fixture
def stock() -> Stock:
    return Stock(Catalogue.of({name: item(name, title) for name, title in TITLES.items()}, 0.0))


@pytest.fixture
def search(stock: Stock) -> CatalogueSearch:
    return CatalogueSearch(stock)


async def found(search: CatalogueSearch, text: str = "", k: int = 10, offset: int = 0, **more: object) -> list[str]:
    query = replace(CatalogueQuery(k, offset, text), **more)  # type: ignore[arg-type]
    return [one.item.item_id for one in await search.find(query)]


async def renewed(search: CatalogueSearch) -> None:
    building = search.renew()
    assert building is not None
    await building


async def test_all_words_have_to_begin_words_of_a_title_and_best_sellers_come_first(search: CatalogueSearch) -> None:
    assert await found(search, "milk") == ["3", "1", "4"]
    assert await found(search, "MIL whi") == ["1"]
    assert await found(search, "creme brul") == ["2"]
    assert await found(search, "ilk") == []
    assert await found(search, "<!--") == []


async def test_pages_follow_each_other_and_without_words_all_items_match(search: CatalogueSearch) -> None:
    first, second = await found(search, k=4), await found(search, k=4, offset=4)
    assert first + second == ["3", "1", "2", "4", "5", "6"]


async def test_an_item_that_is_sold_out_is_found_by_its_id_only(search: CatalogueSearch, stock: Stock) -> None:
    await found(search)
    stock.change("1", in_stock=False)
    assert await found(search, "milk") == ["3", "4"]
    (one, other) = await search.find(CatalogueQuery(1, items=("1", "no such item", "3", "1")))
    assert (one.item.item_id, one.available, other.item.item_id, other.available) == ("1", False, "3", True)


async def test_filters_narrow_the_items(search: CatalogueSearch, stock: Stock) -> None:
    stock.change("6", category="DRINKS|TEA")
    assert await found(search, filters=Filters(categories=("DRINKS",))) == ["6"]
    assert await found(search, "milk", filters=Filters(exclude=("3",))) == ["1", "4"]


async def test_a_new_title_is_found_once_the_index_has_aged(
    search: CatalogueSearch, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await found(search, "oat") == []
    stock.change("7", title="Oat milk")
    assert await found(search, "oat") == []
    monkeypatch.setattr("serving.answers.catalogue_search._SPACING_SECONDS", -1.0)
    await renewed(search)
    assert await found(search, "oat") == ["7"]
    stock.sales, stock.digest = {"7": 99.0}, "2"
    await renewed(search)
    assert await found(search, "milk") == ["7", "1", "3", "4"]


async def test_an_index_that_was_built_before_is_used_until_the_catalogue_changes(stock: Stock) -> None:
    words = TitleWords.of(stock.catalogue)
    some = replace(words, words=["milk"], places={"milk": words.places["milk"][:2]})
    search = CatalogueSearch(stock, TitleIndex.of(some, stock.sales, stock.digest))
    assert search.renew() is None
    assert await found(search, "milk") == ["3", "1"]
    assert await found(search, "tea") == []
    index = TitleIndex.of(words, stock.sales, stock.digest)
    stock.change("7", title="Oat milk")
    search = CatalogueSearch(stock, index)
    await search.ready()
    assert await found(search, "milk") == ["3", "1", "4", "7"]


async def test_items_of_one_title_and_titles_of_several_lines_are_found(stock: Stock, search: CatalogueSearch) -> None:
    stock.change("7", title="Fluid milk, white only")
    stock.change("8", title="Green\ntea")
    await search.ready()
    assert search.renew() is None, "the first request builds nothing"
    assert await found(search, "fluid white") == ["1", "7"]
    assert await found(search, "tea") == ["6", "8"]
    assert await found(search, "green tea") == ["8"]


async def test_an_empty_catalogue_has_no_words(stock: Stock, search: CatalogueSearch) -> None:
    stock.catalogue = Catalogue.of({}, 0.0)
    await search.ready()
    assert await found(search, "milk") == []
