"""A hand-written service from memory, and the state of a server around it."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

import orjson

from infra.configuration.collect_mapping import collect_mapping
from infra.configuration.placements import configured
from infra.configuration.settings import Settings
from infra.keys.api_keys import ApiKey, Scope, all_scopes, create_secret, hash_of
from infra.keys.credentials import Pseudonyms
from serving.answers.answer import Answer, RankedItem
from serving.answers.catalogue_search import CatalogueQuery, FoundItem
from serving.answers.request import ListRequest, RankRequest, Visitor
from serving.api.gate.keyring import Keyring
from serving.api.state import Operators, Parts, State
from serving.collector.bodies import CallIntake
from serving.collector.collector import Collector
from serving.events.impressions import ShownAnswer
from serving.events.message import Message, Receipt
from serving.operations.sign_ins import SignIns
from serving.stores.catalogue import Item
from tests.serving.api.fake_operators import MemoryPreviews, MemoryReports, MemoryRules

PSEUDONYM_KEY = "5e" * 32
PASSWORD = "the password of operators"
of = Pseudonyms(PSEUDONYM_KEY).of
of_device = Pseudonyms(PSEUDONYM_KEY).of_device


def answer(items: Sequence[str], placement: str = "home", first: int = 1) -> Answer:
    ranked = tuple(
        RankedItem(item, rank, 1 / rank, "Bought by many", f"Title of {item}", f"https://shop.example/{rank}")
        for rank, item in enumerate(items, first)
    )
    return Answer(tuple(items), placement, "cache", 3, 12, items_json=orjson.dumps([item._asdict() for item in ranked]))


@dataclass
class FakeAnswers:
    """Answers with numbered items, and remembers the requests."""

    items: Sequence[str] = tuple(f"item-{number}" for number in range(1, 51))
    requests: list[ListRequest | RankRequest] = field(default_factory=list)
    about: list[tuple[str, ...]] = field(default_factory=list)
    error: Exception | None = None
    degraded: bool = False
    seconds: float = 0.0
    searches: list[CatalogueQuery] = field(default_factory=list)
    hidden: list[tuple[Visitor, str]] = field(default_factory=list)
    unknown: frozenset[str] = frozenset()
    count: int = 0
    """Requests for lists."""
    _made: dict[tuple[str, int, int], Answer] = field(default_factory=dict)

    async def recommend(self, request: ListRequest) -> Answer:
        self.count += 1
        self.requests.append(request)
        if len(self.requests) > 1000:
            self.requests.clear()
        if self.error:
            raise self.error
        if self.seconds:
            await asyncio.sleep(self.seconds)
        place = request.placement, request.offset, request.k
        if place not in self._made:
            items = self.items[request.offset : request.offset + request.k]
            self._made[place] = answer(items, request.placement, request.offset + 1)
        return replace(self._made[place], degraded=True) if self.degraded else self._made[place]

    async def similar(self, item: str, request: ListRequest) -> Answer:
        self.about.append((item,))
        return await self.recommend(request)

    async def goes_with(self, items: tuple[str, ...], request: ListRequest) -> Answer:
        self.about.append(items)
        return await self.recommend(request)

    async def rank(self, request: RankRequest) -> Answer:
        self.requests.append(request)
        return answer(sorted(request.items), request.placement)

    async def popular(self, request: ListRequest) -> Answer:
        return await self.recommend(request)

    trending = newest = popular

    async def find(self, query: CatalogueQuery) -> tuple[FoundItem, ...]:
        self.searches.append(query)
        names = query.items or self.items[query.offset : query.offset + query.k]
        none = None, None, None, None
        return tuple(
            FoundItem(Item(name, f"Title of {name}", *none, "FOOD|TEA", "", True, True, -inf, inf), True)
            for name in names
        )

    async def unknown_items(self, items: Collection[str]) -> frozenset[str]:
        return self.unknown.intersection(items)

    def hide(self, visitor: Visitor, item_id: str) -> None:
        self.hidden.append((visitor, item_id))


@dataclass
class FakeEvents:
    """Keeps messages and shown answers in memory."""

    messages: list[Message] = field(default_factory=list)
    shown: list[ShownAnswer] = field(default_factory=list)
    receipt: Receipt = "stored"
    earlier: frozenset[str] = frozenset()
    """Visitors of earlier days."""
    error: Exception | None = None

    async def write(self, *messages: Message) -> list[Receipt]:
        if self.error:
            raise self.error
        for message in messages:
            assert message.body  # a text that cannot be stored is refused here
        self.messages += messages
        return [self.receipt] * len(messages)

    async def any_is_new(self, visitors: Collection[str | None]) -> bool:
        return any(one not in self.earlier for one in visitors)

    def log(self, shown: ShownAnswer) -> None:
        self.shown.append(shown)
        if len(self.shown) > 1000:
            self.shown.clear()


def new_key(*scopes: Scope, rate: float | None = None) -> tuple[str, ApiKey]:
    """Return a key's text and its record."""
    key_id, text = create_secret()
    return text, ApiKey(key_id, "test", all_scopes(scopes or ("admin",)), hash_of(text), rate)


def state_of(
    keys: Sequence[ApiKey],
    answers: FakeAnswers | None = None,
    events: FakeEvents | None = None,
    rate: float = 1e6,
    sign_ins: Path = Path("/nowhere"),
) -> State:
    """Return the state of a server with these keys. Operators sign in only with a folder for that."""
    pseudonyms, settings = Pseudonyms(PSEUDONYM_KEY), Settings()
    state = State(Keyring(keys, rate), pseudonyms, configured(settings), traits=("age_band",))
    stored = events or FakeEvents()
    intake = CallIntake(lambda: Collector.of(collect_mapping(settings, "collector"), pseudonyms), stored)
    ready = {"model": True, "fallback": True}
    answering = answers or FakeAnswers()
    previews = MemoryPreviews(answering, state.placements)
    operators = Operators(MemoryRules(), previews, MemoryReports(), SignIns(PASSWORD, "secret", sign_ins))
    state.parts = Parts(answering, stored, stored, lambda: ready, intake, operators)
    return state
