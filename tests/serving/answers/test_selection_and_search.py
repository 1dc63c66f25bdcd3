"""What of a list is shown, the answers that a process remembers, and the search of the catalogue."""

import gc
import weakref
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import orjson
import pyarrow as pa
import pytest

from models.lists.rules.layer.rule_layer import NO_RULES, PinnedItem, RuleLayer
from serving.answers.catalogue_search import CatalogueQuery, CatalogueSearch, TitleIndex, TitleWords
from serving.answers.chain import StoredAnswers
from serving.answers.protocol import Answer, Entry, Filters, Listing, ListRequest, Visitor
from serving.answers.remembered_answers import RememberedAnswers, State
from serving.answers.selection import HiddenItems, Selection, page
from serving.answers.service import AnswerService
from serving.stores.catalogue import Catalogue, Item
from serving.stores.lists import NOBODY, Standing
from tasks.ingest.rows.variants import variants_of
from tests.serving.made_up_shop import ITEMS, PLACEMENTS, Holder, champion

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
NOW = State(1, 1, 1, NO_RULES)


def item(name: str, **values: object) -> Item:
    known = Item(name, f"Title {name}", None, None, 2.0, "EUR", "FOOD|TEA", "Acme", True, True, -np.inf, np.inf)
    return known._replace(**values)


@dataclass
class Stock:
    """A catalogue and sales that a test replaces."""

    catalogue: Catalogue
    sales: dict[str, float] = field(default_factory=lambda: dict(SALES))
    digest: str = "1"

    def change(self, name: str, **values: object) -> None:
        self.catalogue = Catalogue.of(self.catalogue.by_id | {name: replace_item(self.catalogue, name, values)}, 0.0)


def replace_item(catalogue: Catalogue, name: str, values: dict[str, object]) -> Item:
    return catalogue.by_id.get(name, item(name))._replace(**values)  # type: ignore[arg-type]


@pytest.fixture
def stock() -> Stock:
    goods = {name: item(name, title=title, category="FOOD|DAIRY") for name, title in TITLES.items()}
    return Stock(Catalogue.of(goods, 0.0))


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


@pytest.mark.parametrize(
    ("title", "queries"),
    [
        ("Dübel", "dübel DÜBEL du\u0308bel duebel DUEBEL dubel dueb dub"),
        ("Duebel", "dübel duebel"),
        ("Dubel", "dübel dubel"),
        ("Du\u0308bel", "dübel duebel dubel"),
        ("Müller-Straße 7", "muller-strasse mueller-STRASSE müller-straße mueller strasse"),
        ("Strasse", "straße STRASSE"),
        ("Ærø", "aero ærø aeroe"),
        ("Aero", "ærø aero"),
        ("Ångström", "angstrom aangstroem ångström"),
        ("Crème brûlée", "creme brulee crème brûlée"),
        ("Łódź", "lodz łódź"),
        ("I\u015f\u0131k", "isik \u0131\u015f\u0131k"),
        ("Þórr œuvre", "thorr oeuvre þórr œuvre"),
        ("Лампа", "лампа ЛАМ"),
        ("東京タワー", "東京 東京タワー"),
    ],
)
async def test_words_are_found_in_every_way_that_people_write_their_letters(title: str, queries: str) -> None:
    search = CatalogueSearch(Stock(Catalogue.of({"1": item("1", title=title), "2": item("2", title="Shorts")}, 0.0)))
    assert {query: await found(search, query) for query in queries.split()} == {
        query: ["1"] for query in queries.split()
    }


async def test_two_vowels_of_a_word_are_no_umlaut() -> None:
    titles = {"1": "Shoe", "2": "Shorts", "3": "Blue pan", "4": "Blur", "5": "Dubel"}
    search = CatalogueSearch(
        Stock(Catalogue.of({name: item(name, title=title) for name, title in titles.items()}, 0.0))
    )
    assert [await found(search, text) for text in ("shoe", "blue", "blur", "duebel")] == [["1"], ["3"], ["4"], []]


async def test_an_empty_catalogue_has_no_words(stock: Stock, search: CatalogueSearch) -> None:
    stock.catalogue = Catalogue.of({}, 0.0)
    await search.ready()
    assert await found(search, "milk") == []


GOODS = {
    one.item_id: one
    for one in (
        item("tea"),
        item("milk", category="FOOD|DAIRY", brand="Moo", price=1.0),
        item("gone", in_stock=False),
        item("fee", merchandise=False),
        item("later", available_from=200.0),
        item("over", available_until=100.0),
        item("unpriced", price=None, category="FOODS"),
    )
}
CATALOGUE = Catalogue.of(GOODS, 100.0)


@pytest.mark.parametrize("seed", range(5))
def test_ids_of_variants_are_those_that_ingests_know(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a made-up catalogue
    ids = [f"i{number}" for number in range(12)]
    stated = {name: "\n".join(random.choices([*ids, "", *map(str, range(30))], k=random.randrange(6))) for name in ids}
    goods = {name: item(name, variant_ids=stated[name] or None) for name in ids}
    catalogue = pa.table({"item_id": ids, "variant_ids": [stated[name] or None for name in ids]})
    ingested = variants_of(catalogue, pa.array(ids)).to_pylist()
    assert Catalogue.of(goods, 0.0).products == {one["variant_id"]: one["item_id"] for one in ingested}


EVERYTHING = Listing(tuple(Entry(name, 1.0, "why") for name in [*GOODS, "unknown"]))


def names(standing: Standing, filters: Filters, *others: tuple[str, ...]) -> list[str]:
    shown = Selection.of(standing, filters, *others).visible(EVERYTHING, CATALOGUE, 20)
    return [entry.item_id for entry, _ in shown]


@pytest.mark.parametrize(
    ("excluded", "filters", "left"),
    [
        ((), Filters(), ["tea", "milk", "unpriced"]),
        (("item:tea",), Filters(), ["milk", "unpriced"]),
        (("brand:Moo",), Filters(), ["tea", "unpriced"]),
        (("category:FOOD",), Filters(), ["unpriced"]),
        (("category:FOOD|TEA",), Filters(), ["milk", "unpriced"]),
        ((), Filters(categories=("FOOD",)), ["tea", "milk"]),
        ((), Filters(brands=("Moo",)), ["milk"]),
        ((), Filters(lowest_price=1.5), ["tea"]),
        ((), Filters(highest_price=1.5), ["milk"]),
        ((), Filters(exclude=("tea",)), ["milk", "unpriced"]),
        ((), Filters(categories=("FOODS",), highest_price=9.0), []),
    ],
)
def test_exclusions_of_a_user_and_filters_narrow_what_can_be_bought_now(
    excluded: tuple[str, ...], filters: Filters, left: list[str]
) -> None:
    assert names(Standing(True, True, excluded), filters) == left


def test_items_of_the_context_are_left_out() -> None:
    assert names(NOBODY, Filters(), ("tea",), ("milk",)) == ["unpriced"]


def test_a_catalogue_follows_the_dates_of_its_items() -> None:
    assert CATALOGUE.at(150.0) is CATALOGUE
    later = CATALOGUE.at(200.0)
    assert "later" in later.sold
    assert later.generation > CATALOGUE.generation
    assert "over" in CATALOGUE.at(99.0).sold


def test_a_page_has_ranks_and_its_items_as_json_at_which_garbage_collections_do_not_look() -> None:
    shown = Selection.of(NOBODY, Filters()).visible(EVERYTHING, CATALOGUE, 3)
    answer = page(shown[1:], 1, EVERYTHING, "table", "home", CATALOGUE, degraded=False, personal=True)
    assert [(one.rank, one.item_id, one.title) for one in answer.items] == [
        (2, "milk", "Title milk"),
        (3, "unpriced", "Title unpriced"),
    ]
    assert orjson.loads(answer.items_json) == [one._asdict() for one in answer.items]
    assert answer.item_ids == ("milk", "unpriced")
    gc.collect()
    assert [one for one in gc.get_referents(answer) if gc.is_tracked(one)] == [Answer]


def test_attributes_follow_the_order_of_a_model() -> None:
    attributes = CATALOGUE.attributes(np.array(["absent", "gone", "milk", "tea", "unpriced"]))
    assert attributes.available.tolist() == [False, False, True, True, True]
    assert attributes.category.tolist() == ["", "FOOD|TEA", "FOOD|DAIRY", "FOOD|TEA", "FOODS"]
    assert np.isnan(attributes.price).tolist() == [True, False, False, False, True]
    empty = Catalogue.of({}, 0.0).attributes(np.array(["absent"]))
    assert not empty.available.any()


def answer(letters: int) -> Answer:
    return Answer((), "home", "table", items_json=b"x" * letters)


def test_the_last_used_answers_stay_within_a_number_of_bytes() -> None:
    remembered = RememberedAnswers(StoredAnswers(None).may_show, 60, most_bytes=14_400)
    for number in range(50):
        remembered.remember(number, answer(400), NOW, None, 0.0)
        assert remembered.fresh(0, NOW) is not None
    assert [number for number in range(50) if remembered.fresh(number, NOW)] == [0, *range(41, 50)]
    remembered.remember("long", answer(400), NOW, None, 0.0, letters=12_000)
    assert [key for key in (0, 48, 49, "long") if remembered.fresh(key, NOW)] == ["long"]
    for _ in range(50):  # the same key again takes the place of its earlier answer
        remembered.remember("long", answer(400), NOW, None, 0.0)
    remembered.remember("short", answer(400), NOW, None, 0.0)
    assert remembered.fresh("long", NOW) is not None


def test_the_letters_of_a_request_count_all_lists_that_a_caller_may_make_long() -> None:
    filters = Filters(("tea",), ("acme",), exclude=("a", "bc"))
    assert ListRequest("home", Visitor(), 3, context=("x" * 100,), filters=filters).letters == 110


def test_an_answer_of_another_state_is_not_fresh_and_is_the_last_good_one() -> None:
    remembered = RememberedAnswers(StoredAnswers(None).may_show, 60)
    remembered.remember("key", answer(1), NOW, None, 0.0)
    for other in (
        *(State(2, 1, 1, NO_RULES), State(1, 2, 1, NO_RULES), State(1, 1, 2, NO_RULES)),
        State(1, 1, 1, RuleLayer((PinnedItem(placement="home", item="a", place=1),))),
    ):
        assert remembered.fresh("key", other) is None
    assert remembered.last_good("key") is not None


async def test_a_remembered_answer_keeps_no_old_catalogue_in_memory() -> None:
    holder = Holder(champion())
    service = AnswerService(holder, PLACEMENTS)
    await service.upkeep.refresh()
    assert (await service.recommend(ListRequest("home", Visitor(), 3))).items
    old = weakref.ref(service.upkeep.catalogue)
    holder.model = champion(2, reverse=True)
    await service.upkeep.refresh()
    assert [item.item_id for item in (await service.recommend(ListRequest("home", Visitor(), 1))).items] == [ITEMS[-1]]
    gc.collect()
    assert old() is None


def test_a_visitor_who_hides_items_without_end_takes_little_memory() -> None:
    hidden, visitor = HiddenItems(most=2), Visitor("a" * 64)
    for number in range(5_000):
        hidden.add(visitor, f"item-{number}")
        assert f"item-{number}" in hidden.of(visitor)
        assert len(hidden.of(visitor)) <= 1_000
    for name in "bc":
        hidden.add(Visitor(None, name * 64), "item-1")
    assert hidden.of(visitor) == frozenset()
