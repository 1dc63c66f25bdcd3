"""A hand-written service and the parts of operators from memory, and the state of a server around them."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import orjson

from infra.configuration.collect_mapping import collect_mapping
from infra.configuration.placements import configured
from infra.configuration.settings import Settings
from infra.database.privacy_requests import Asked
from infra.keys.api_keys import ApiKey, Scope, all_scopes, create_secret, hash_of
from infra.keys.credentials import Pseudonyms
from models.evaluation.metrics.bootstrap import Estimate
from models.gate.results import BETTER, compared
from models.lists.rules.layer.rule_layer import NO_RULES, NO_VERSION, RuleLayer, RuleVersion, attributed
from models.lists.rules.layer.validation import Conflict, faults
from models.lists.rules.placement_config import Placement
from serving.answers.catalogue_search import CatalogueQuery, FoundItem
from serving.answers.protocol import Answer, ListRequest, RankedItem, RankRequest, Visitor
from serving.api.gate.keyring import Keyring
from serving.api.state import Operators, Parts, State
from serving.collector.bodies import CallIntake
from serving.collector.collector import Collector
from serving.events.impressions import ShownAnswer
from serving.events.message import Message, Receipt
from serving.operations.reports import (
    Alert,
    Author,
    ChampionReport,
    DriftWindow,
    EarnedWeek,
    ExperimentReport,
    LedgerEntry,
    OutdatedVersionError,
    Paging,
    PlacementReport,
    RefusedLayerError,
    UnknownVersionError,
    VersionReport,
)
from serving.operations.rule_changes import History, Preview
from serving.operations.sign_ins import SignIns
from serving.stores.catalogue import Item
from serving.stores.shared_loads import PostgresDownError

PSEUDONYM_KEY = "5e" * 32
PASSWORD = "the password of operators"
GATE = [
    asdict(compared(name, Estimate(gain, gain - 0.01, gain + 0.01), 0.0, True, "verdict"))
    for name, gain in (
        ("not worse than most_popular", 0.2),
        ("not worse than most_popular on new items", 0.001),
        ("not worse than the champion on repeat purchases", -0.02),
        (BETTER, 0.1),
    )
]
of = Pseudonyms(PSEUDONYM_KEY).of
of_device = Pseudonyms(PSEUDONYM_KEY).of_device
NOW = datetime(2026, 11, 29, 10, tzinfo=UTC)
PAID = 2.5, "EUR"
"""What customers pay for every item."""
MLFLOW, REPORT, DOCS = (f"http://pages.example/{name}" for name in ("mlflow", "report", "docs"))


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
    products: Mapping[str, str] = field(default_factory=dict)
    """The item of each variant."""
    in_stock: frozenset[str] | None = None
    """The items of the catalogue; None for all."""
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
        names: Sequence[str] = query.items or self.items[query.offset : query.offset + query.k]
        if self.in_stock is not None:
            names = [name for name in names if name in self.in_stock]
        none = None, None, None, None
        return tuple(
            FoundItem(Item(name, f"Title of {name}", *none, "FOOD|TEA", "", True, True, -inf, inf, -inf, *PAID), True)
            for name in names
        )

    async def unknown_items(self, items: Collection[str]) -> frozenset[str]:
        return self.unknown.intersection(items)

    def product(self, item_id: str) -> str:
        return self.products.get(item_id, item_id)

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
    operators = Operators(
        MemoryRules(), previews, MemoryReports(), SignIns(PASSWORD, "secret", sign_ins), MemoryRequests()
    )
    state.parts = Parts(answering, stored, stored, lambda: ready, intake, operators)
    return state


@dataclass
class MemoryRules:
    """Versions in a list."""

    most_versions: ClassVar[int] = 1_000
    """The versions of a page, as the limit of rules bounds them."""
    stored: list[RuleVersion] = field(default_factory=lambda: [NO_VERSION])

    async def history(self, most: int, offset: int) -> History:
        versions = self.stored[:0:-1][offset : offset + min(most, self.most_versions)]
        return History(self.stored[-1], versions)

    async def save(self, layer: RuleLayer, before: int, author: Author) -> RuleVersion:
        if before != self.stored[-1].version:
            raise OutdatedVersionError(self.stored[-1].version)
        signed = attributed(layer, self.stored[-1].layer, author.name, NOW)
        self.stored.append(RuleVersion(before + 1, signed, author.name, author.comment, NOW))
        return self.stored[-1]

    async def undo(self, before: int, target: int | None, author: Author) -> RuleVersion:
        wanted = before - 1 if target is None else target
        if before != self.stored[-1].version:
            raise OutdatedVersionError(self.stored[-1].version)
        if not 0 <= wanted < before:
            raise UnknownVersionError("There is no such version.")
        return await self.save(self.stored[wanted].layer, before, author)

    async def conflicts(self, layer: RuleLayer) -> list[Conflict]:
        return [Conflict("home", "a conflict", rule) for rule in list(layer)[:1]]


@dataclass
class MemoryPreviews:
    """Answers of a fake service, with a catalogue that has everything."""

    answers: object
    placements: Mapping[str, Placement]

    def has(self, *_: str) -> bool:
        return True

    async def preview(self, request: ListRequest, _item: str | None, edited: RuleLayer | None) -> Preview:
        if edited is not None and (found := faults(edited, NO_RULES, self.placements, self, NOW)):
            raise RefusedLayerError(found)
        current = await self.answers.recommend(request)  # type: ignore[attr-defined]
        return Preview(current, None if edited is None else current)


class MemoryReports:
    """One entry of each report, on pages of one."""

    def __init__(self) -> None:
        self.stopped: list[tuple[str, str, str]] = []

    async def experiments(self) -> list[ExperimentReport]:
        claim = "test changed clicks per impression by +12.0% against control (between +3.0% and +21.0%)."
        days = [(date(2026, 11, 20 + day), 0.05, 0.055) for day in range(3)]
        moments = datetime(2026, 11, 19, tzinfo=UTC), datetime(2026, 12, 19, tzinfo=UTC)
        people, words = {"control": 500, "test": 511}, "clicks per impression"
        return [ExperimentReport("spring", ["home"], "running", *moments, [claim], people, days, words, None, None)]

    async def stop_experiment(self, name: str, actor: str, reason: str) -> None:
        self.stopped.append((name, actor, reason))

    async def earned(self, weeks: int) -> list[EarnedWeek]:
        figures = {"": (900, 45, 9, 4, 80.0), "home": (600, 40, 8, 3, 60.0)}
        monday = date(2026, 11, 23)
        return [
            EarnedWeek(monday + week * timedelta(weeks=1), place, *own, 320.0, "EUR", 0.05, 0.04, 0.06)
            for week in range(min(weeks, 2))
            for place, own in figures.items()
        ]

    async def services(self) -> dict[str, str]:
        return {"MLflow": MLFLOW, "Data Docs": DOCS}

    async def placements(self) -> list[PlacementReport]:
        shown = "fresh", 12, 3, 30, NOW, NOW
        home = PlacementReport("home", "user", 20, ["shows items"], [], *shown, answers={"table": 5}, page=MLFLOW)
        return [home, PlacementReport("similar-items", "item", 10, [], [], "no lists yet")]

    async def champion(self) -> ChampionReport:
        return ChampionReport(VersionReport(3, "v1", "als", {"ndcg_10": 0.1}, gate=GATE, page=MLFLOW), None)

    async def ledger(self, part: Paging) -> list[LedgerEntry]:
        entry = LedgerEntry("b", "shop", "events", "committed", "a.csv", NOW, None, 17, 8, 1, 2, 3, 3, 0, None, DOCS)
        return [entry] * part.most

    async def drift(self, part: Paging) -> list[DriftWindow]:
        return [DriftWindow(1, 3, NOW, NOW, "stable", 1.25, 3.0, [], "none", [], REPORT, MLFLOW)][: part.most]

    async def alerts(self, part: Paging) -> list[Alert]:
        return [Alert(NOW, "drift", "version 3", "drifted")][: part.most]


@dataclass
class MemoryRequests:
    """Requests in a list; the first one has a file, and nobody is lifted while an erasure waits."""

    asked: list[Asked] = field(default_factory=list)

    async def record(self, asked: Asked) -> dict[str, Any] | None:
        erased = {name for one in self.asked if one.kind == "erase" for name in one.users}
        if asked.kind == "lift" and erased & set(asked.users):
            return None
        self.asked.append(asked)
        return self._row(len(self.asked))

    async def find(self, number: int) -> dict[str, Any] | None:
        return self._row(number) if 0 < number <= len(self.asked) else None

    async def page(self, most: int, offset: int) -> list[dict[str, Any]]:
        return [self._row(number) for number in range(len(self.asked), 0, -1)][offset : offset + most]

    async def file(self, number: int) -> bytes | None:
        return b"PK" if number == 1 else None

    def _row(self, number: int) -> dict[str, Any]:
        one = self.asked[number - 1]
        said = {"kind": one.kind, "users": len(one.users), "actor": one.actor, "reason": one.reason}
        said |= {"suppress": one.suppress, "purpose": one.purpose, "asked_at": NOW, "due_at": NOW, "done_at": None}
        return said | {"number": number, "state": "open", "is_late": False, "removed": {}, "has_file": number == 1}


class DownParts:
    """Any part of operators while the database is away."""

    def __getattr__(self, _: str) -> Any:
        async def fail(*_: object) -> NoReturn:
            raise PostgresDownError

        return fail
