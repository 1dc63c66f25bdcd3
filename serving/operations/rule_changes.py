"""Stores new versions of operators' rules after all checks, and shows what a list would be under edited ones."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from sqlalchemy import Engine

from infra.database.rule_versions import add_version, current_rules, rule_version, rule_versions
from models.lists.rules.layer.rule_layer import NO_VERSION, RuleLayer, RuleVersion, attributed
from models.lists.rules.layer.validation import Conflict, conflicts, faults
from models.lists.rules.placement_config import Placement
from serving.answers.protocol import Answer, ListRequest
from serving.answers.service import AnswerService
from serving.live.live_scorer import LiveListScorer
from serving.model.holder import ModelHolder
from serving.operations.reports import Author, OutdatedVersionError, RefusedLayerError, UnknownVersionError
from serving.stores.catalogue import Catalogue
from serving.stores.rules import FixedRules, LayeredPlacements, RuleReader
from serving.stores.shared_loads import PostgresDownError

MOST_RULES: Final = 2_000
"""The rules of all versions on a page: four versions of the largest size, or many of usual ones."""


class History(NamedTuple):
    """The current version, and a page of all versions."""

    current: RuleVersion
    versions: list[RuleVersion]

    @property
    def is_last(self) -> bool:
        """Return whether there is no version before those of the page."""
        return not self.versions or self.versions[-1].version == 1


class RuleChanges:
    """The versions of the rules, and their changes."""

    def __init__(
        self,
        database: Engine,
        reader: RuleReader,
        placements: Mapping[str, Placement],
        catalogue: Callable[[], Catalogue],
        models: ModelHolder,
    ) -> None:
        """Check layers against the placements of the file, the present catalogue and the champion."""
        self._database, self._reader, self._catalogue, self._models = database, reader, catalogue, models
        self.placements = placements

    async def current(self) -> RuleVersion:
        """Return the current version, as the database has it."""
        return await asyncio.to_thread(self._current)

    async def history(self, most: int, offset: int) -> History:
        """Return versions, the latest first: at least one, then as many as have `MOST_RULES` rules together."""
        return await asyncio.to_thread(self._history, most, offset)

    async def save(self, layer: RuleLayer, before: int, author: Author) -> RuleVersion:
        """Store a layer as the version after `before`; it counts in this process at once.

        Raises RefusedLayerError, and OutdatedVersionError if `before` is not the current version.
        """
        return await self._read(await asyncio.to_thread(self._save, layer, before, author))

    async def undo(self, before: int, target: int | None, author: Author) -> RuleVersion:
        """Store a version equal to an earlier one, by default to the one before the current.

        Raises UnknownVersionError, and OutdatedVersionError if `before` is not the current version.
        """
        return await self._read(await asyncio.to_thread(self._undo, before, target, author))

    async def check(self, layer: RuleLayer) -> None:
        """Raise RefusedLayerError for a layer that could not be stored."""
        await asyncio.to_thread(self._check, layer, self._reader.current.layer)

    async def conflicts(self, layer: RuleLayer) -> list[Conflict]:
        """Return the conflicts of a layer with the placements file."""
        return await asyncio.to_thread(self._conflicts, layer)

    async def _read(self, stored: RuleVersion) -> RuleVersion:
        """Let a version that is stored count in this process; the reader tries again if it cannot be read now."""
        with suppress(PostgresDownError):
            await self._reader.refresh()
        return stored

    def _current(self) -> RuleVersion:
        with self._database.connect() as connection:
            return current_rules(connection)

    def _history(self, most: int, offset: int) -> History:
        with self._database.connect() as connection:
            versions = rule_versions(connection, most, offset, MOST_RULES)
            if offset:
                return History(current_rules(connection), versions)
            return History(versions[0] if versions else NO_VERSION, versions)

    def _save(self, layer: RuleLayer, before: int, author: Author) -> RuleVersion:
        current = self._current()
        if current.version != before:
            raise OutdatedVersionError(current.version)
        self._check(layer, current.layer)
        signed = attributed(layer, current.layer, author.name, self._reader.now())
        return self._add(before, signed, author)

    def _undo(self, before: int, target: int | None, author: Author) -> RuleVersion:
        wanted = before - 1 if target is None else target
        with self._database.connect() as connection:
            current, earlier = current_rules(connection), rule_version(connection, wanted)
        if current.version != before:
            raise OutdatedVersionError(current.version)
        if before == 0:
            raise UnknownVersionError("No rules were ever stored, so there is nothing to undo.")
        if earlier is None or not 0 <= wanted < before:
            raise UnknownVersionError(f"Version {wanted} is no earlier version; there are 0 to {before - 1}.")
        return self._add(before, earlier.layer, author, restores=wanted)

    def _add(self, before: int, layer: RuleLayer, author: Author, restores: int | None = None) -> RuleVersion:
        with self._database.begin() as connection:
            stored = add_version(connection, before, layer, author.name, author.comment, author.key_id, restores)
        if stored is None:
            raise OutdatedVersionError(self._current().version)
        return stored

    def _check(self, layer: RuleLayer, before: RuleLayer) -> None:
        if found := faults(layer, before, self.placements, self._catalogue(), self._reader.now()):
            raise RefusedLayerError(found)

    def _conflicts(self, layer: RuleLayer) -> list[Conflict]:
        own = layer.counting(self._reader.now())
        model = self._models.current()
        learned = None if model is None else model.bundle.model.items
        catalogue = self._catalogue()
        named = catalogue.attributes(np.array(sorted(own.items & catalogue.by_id.keys()), dtype=np.str_))
        return conflicts(self.placements, own, named, learned)


@dataclass(frozen=True)
class Preview:
    """Two answers to one request."""

    current: Answer
    edited: Answer | None
    """None if no edited rules were given."""


class Previews:
    """Answers requests as this server does, under any rules.

    The server's own best sellers and prepared lists are used again. Only what the rules change about one placement is
    built.
    """

    def __init__(self, answers: AnswerService, live: LiveListScorer, rules: RuleReader, changes: RuleChanges) -> None:
        """Use the parts of the server."""
        self._answers, self._live, self._rules, self._changes = answers, live, rules, changes

    async def preview(self, request: ListRequest, item: str | None, edited: RuleLayer | None) -> Preview:
        """Return the answer under the current rules, and under the edited ones. `item` is the subject of item lists.

        Raises RefusedLayerError for rules that could not be stored.
        """
        if edited is not None:
            await self._changes.check(edited)
        layers = [self._rules.current.layer, *(() if edited is None else (edited,))]
        current, *others = await asyncio.gather(*(self._answer(request, item, layer) for layer in layers))
        return Preview(current, next(iter(others), None))

    async def _answer(self, request: ListRequest, item: str | None, layer: RuleLayer) -> Answer:
        placement = self._changes.placements[request.placement]
        rules = FixedRules(replace(NO_VERSION, layer=layer), self._rules.now())
        placements = LayeredPlacements({request.placement: placement}, rules)
        service = self._answers.under(placements, self._live.under(placements), request.visitor)
        if item is None:
            return await service.recommend(request)
        if placement.method == "similarity":
            return await service.similar(item, request)
        return await service.goes_with((item,), request)
