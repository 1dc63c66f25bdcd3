"""The parts of operators from memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, NoReturn

from models.lists.rules.layer.rule_layer import NO_RULES, NO_VERSION, RuleLayer, RuleVersion, attributed
from models.lists.rules.layer.validation import Conflict, faults
from models.lists.rules.placement_config import Placement
from serving.answers.request import ListRequest
from serving.operations.reports import (
    Alert,
    Author,
    ChampionReport,
    DriftWindow,
    LedgerEntry,
    OutdatedVersionError,
    Paging,
    PlacementReport,
    RefusedLayerError,
    UnknownVersionError,
    VersionReport,
)
from serving.operations.rule_changes import History, Preview
from serving.stores.shared_loads import PostgresDownError

NOW = datetime(2026, 11, 29, 10, tzinfo=UTC)
MLFLOW, REPORT, DOCS = (f"http://pages.example/{name}" for name in ("mlflow", "report", "docs"))


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

    async def placements(self) -> list[PlacementReport]:
        shown = "fresh", 12, 3, 30, NOW, NOW
        return [PlacementReport("home", "user", 20, ["shows items"], [], *shown, answers={"table": 5}, page=MLFLOW)]

    async def champion(self) -> ChampionReport:
        return ChampionReport(VersionReport(3, "v1", "als", {"ndcg_10": 0.1}, page=MLFLOW), None)

    async def ledger(self, part: Paging) -> list[LedgerEntry]:
        entry = LedgerEntry("b", "shop", "events", "committed", "a.csv", NOW, None, 17, 8, 1, 2, 3, 3, 0, None, DOCS)
        return [entry] * part.most

    async def drift(self, part: Paging) -> list[DriftWindow]:
        return [DriftWindow(1, 3, NOW, NOW, "stable", 1.25, 3.0, [], "none", [], REPORT, MLFLOW)][: part.most]

    async def alerts(self, part: Paging) -> list[Alert]:
        return [Alert(NOW, "drift", "version 3", "drifted")][: part.most]


class DownParts:
    """Any part of operators while the database is away."""

    def __getattr__(self, _: str) -> Any:
        async def fail(*_: object) -> NoReturn:
            raise PostgresDownError

        return fail
