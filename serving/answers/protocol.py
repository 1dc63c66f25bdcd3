"""What is asked and answered: requests with pseudonyms in place of ids, lists and answers, and live scores of lists."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import orjson

from serving.stores.lists import Standing

Source = Literal["live", "cache", "table", "last_good", "segment", "popular"]
"""The part of the fallback chain that an answer comes from."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Narrows the items of one answer; the rules of the placement apply as well."""

    categories: tuple[str, ...] = ()
    """Category paths: items of one of them, or of a category below it."""
    brands: tuple[str, ...] = ()
    lowest_price: float | None = None
    highest_price: float | None = None
    exclude: tuple[str, ...] = ()
    """Items that the answer must not hold."""

    @property
    def narrows(self) -> bool:
        """Return whether items are selected by their values; named ones may be excluded all the same."""
        bounded = self.lowest_price is not None or self.highest_price is not None
        return bounded or bool(self.categories or self.brands)

    def __bool__(self) -> bool:
        """Return whether any filter is set."""
        return self.narrows or bool(self.exclude)


@dataclass(frozen=True, slots=True)
class Visitor:
    """The person or device that an answer is for."""

    user_key: str | None = None
    """The pseudonym of the user; None for a visitor without an account."""
    session_key: str | None = None
    """The pseudonym of the session or device, which finds the visitor's latest clicks."""


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A request for one page of a placement's list."""

    placement: str
    visitor: Visitor
    k: int
    """Items per page."""
    offset: int = 0
    """Items of earlier pages."""
    context: tuple[str, ...] = ()
    """Items of the basket or recently viewed, the latest last."""
    filters: Filters = field(default_factory=Filters)

    @property
    def letters(self) -> int:
        """Return the number of letters in the lists of the request, which a caller may make long."""
        filters = self.filters
        return sum(map(len, (*self.context, *filters.categories, *filters.brands, *filters.exclude)))


@dataclass(frozen=True, slots=True)
class RankRequest:
    """A request to order given items for a visitor."""

    placement: str
    visitor: Visitor
    items: tuple[str, ...]
    context: tuple[str, ...] = ()


class Entry(NamedTuple):
    """One item of a list before titles and ranks are added."""

    item_id: str
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries from one source, best first, before availability and exclusions of this moment are applied."""

    entries: tuple[Entry, ...]
    model_version: int | None = None
    batch_id: int | None = None
    personal: bool = False
    """Whether it depends on what is stored about the visitor."""
    degraded: bool = False
    """Whether a dependency did not answer that would have improved the list."""
    bought_since: frozenset[str] = frozenset()
    """What the visitor bought lately, in a live list of what is due: published ones may still have it."""


class RankedItem(NamedTuple):
    """One place of an answer."""

    item_id: str
    rank: int
    score: float
    reason: str
    title: str | None = None
    url: str | None = None
    image: str | None = None
    price: float | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A ranked list with its origin."""

    item_ids: tuple[str, ...]
    """Best first."""
    placement: str
    source: Source
    model_version: int | None = None
    """The registered version of the model; None for a standalone bundle without one."""
    batch_id: int | None = None
    """The published batch; None for items that no batch lists."""
    degraded: bool = False
    """Whether a dependency did not answer and a later part of the chain answered for it."""
    personal: bool = False
    """Whether the list depends on the visitor; such answers need consent at the time of each request."""
    variant: str | None = None
    """The variant of a running experiment, as experiment/variant."""
    items_json: bytes = b"[]"
    """The items as a JSON array of objects with the fields of `RankedItem`, serialised once for all requests."""

    @property
    def items(self) -> tuple[RankedItem, ...]:
        """Return the items as objects.

        They are made when they are read: thousands of answers stay in memory, and garbage collections, for which all
        requests wait, would look at each object.
        """
        return tuple(RankedItem(**item) for item in orjson.loads(self.items_json))


class Hidden(NamedTuple):
    """What a placement's rules hide because of events, such as what the user bought."""

    items: frozenset[str]
    complete: bool
    """False if it could not be read now."""


class LiveScorer(Protocol):
    """Scores lists at the time of the request, under the placement's rules.

    Lists hold `offset + k` items if so many are allowed, and the request's filters are applied. `standing` is that of
    the visitor's user. A request without consent comes without user and session, and may still have a context. Methods
    return None if the model cannot score the request, and raise LiveUnavailableError if the scorer is overloaded.
    """

    def wanted(self, request: ListRequest) -> bool:
        """Return, without waiting, whether the request asks for what no batch knows.

        That is a context, recent clicks of the session, or a placement with live lists.
        """

    async def hidden(self, request: ListRequest) -> Hidden:
        """Return what the placement hides from the visitor, for lists that are made without the scorer."""

    async def recommend(self, request: ListRequest, standing: Standing) -> Listing | None:
        """Return the visitor's list."""

    async def similar(self, item: str, request: ListRequest, standing: Standing) -> Listing | None:
        """Return items that are similar to an item."""

    async def goes_with(self, items: tuple[str, ...], request: ListRequest, standing: Standing) -> Listing | None:
        """Return items that go with all items of a basket."""

    async def rank(self, request: RankRequest, standing: Standing) -> Listing | None:
        """Return the given items in the visitor's order; items that the rules do not allow are left out."""


class LiveUnavailableError(Exception):
    """The live scorer cannot take more requests now."""
