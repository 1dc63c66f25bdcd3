"""Stores new versions of operators' rules, after all checks."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import numpy as np
from sqlalchemy import Engine

from infra.database.rule_versions import add_version, current_rules, rule_version, rule_versions
from models.lists.rules.compiled_rules import ItemAttributes
from models.lists.rules.layer.rule_layer import NO_VERSION, BoostKind, RuleLayer, RuleVersion, attributed
from models.lists.rules.layer.validation import Conflict, conflicts, faults
from models.lists.rules.placement_config import Placement
from serving.answers.interfaces import Models
from serving.operations.requests import Author, OutdatedVersionError, RefusedLayerError, UnknownVersionError
from serving.stores.catalogue import Catalogue
from serving.stores.outages import PostgresDownError
from serving.stores.rules import RuleReader

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
        models: Models,
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
        names = _CatalogueNames(self._catalogue())
        if found := faults(layer, before, self.placements, names, self._reader.now()):
            raise RefusedLayerError(found)

    def _conflicts(self, layer: RuleLayer) -> list[Conflict]:
        own = layer.counting(self._reader.now())
        model = self._models.current()
        learned = None if model is None else model.bundle.model.items
        return conflicts(self.placements, own, _named_items(self._catalogue(), own), learned)


class _CatalogueNames:
    """The items, categories and brands of a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Look in this catalogue."""
        self._catalogue = catalogue

    def has(self, kind: BoostKind, value: str) -> bool:
        """Return whether there is such an item, category or brand."""
        if kind == "item":
            return value in self._catalogue.by_id
        return value in (self._catalogue.brands if kind == "brand" else self._catalogue.categories)


def _named_items(catalogue: Catalogue, layer: RuleLayer) -> ItemAttributes:
    """Return the attributes of the items that a layer names, as far as the catalogue has them."""
    return catalogue.attributes(np.array(sorted(layer.items & catalogue.by_id.keys()), dtype=np.str_))
