"""The placements as they are now: those of the file under the rules of operators, which are kept in memory."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson

from infra.private_files.folders import replace_file
from models.experiments.definition import replaced_placement
from models.lists.rules.layer import rule_layer
from models.lists.rules.layer.rule_layer import NO_RULES, NO_VERSION, RuleLayer, RuleVersion
from models.lists.rules.placement_config import Placement

if TYPE_CHECKING:
    from serving.stores.experiments import Experiments
    from serving.stores.postgres import Postgres


FILE: Final = "serving/operator_rules.json"
"""The copy within `var`."""
_NEWEST: Final = "SELECT coalesce(max(version), 0), clock_timestamp() FROM operator_rules"
_ONE: Final = (
    "SELECT version, rules::text AS rules, author, comment, created_at, restores FROM operator_rules WHERE version = $1"
)


@dataclass(frozen=True)
class FixedRules:
    """One version at one moment."""

    current: RuleVersion = NO_VERSION
    moment: datetime = NO_VERSION.created_at

    def now(self) -> datetime:
        """Return the moment."""
        return self.moment


_NONE: Final = FixedRules()
_NO_VARIANTS: Final[Mapping[str, Placement]] = MappingProxyType({})
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class _Compiled:
    """The placements under one version, until one of its rules ends."""

    stored: RuleVersion
    until: datetime | None
    active: Mapping[str, RuleLayer]
    placements: Mapping[str, Placement]


class LayeredPlacements(Mapping[str, Placement]):
    """The placements by name. They change with the version of the rules, and at the moment a rule ends.

    What is the same under two versions stays the same object, so that others see by identity what changed.
    """

    def __init__(
        self,
        file: Mapping[str, Placement],
        rules: "RuleReader | FixedRules" = _NONE,
        experiments: "Experiments | None" = None,
    ) -> None:
        """Lay these rules over those of the file and of variants of experiments; by default there are none."""
        self._of_file, self._rules, self._experiments = file, rules, experiments
        self.file, self._variants = file, _NO_VARIANTS
        """The placements without rules of operators."""
        self._compiled = _Compiled(NO_VERSION, None, dict.fromkeys(file, NO_RULES), file)

    def __getitem__(self, name: str) -> Placement:
        """Return a placement as it is now."""
        return self._now().placements[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the file and of variants."""
        return iter(self._now().placements)

    def __len__(self) -> int:
        """Return the number of placements."""
        return len(self._now().placements)

    @property
    def snapshot(self) -> Mapping[str, Placement]:
        """Return all placements of this moment; the same object until one of them changes."""
        return self._now().placements

    def layer(self, name: str) -> RuleLayer:
        """Return the rules of operators that count for a placement now."""
        return self._now().active.get(name, NO_RULES)

    def _now(self) -> _Compiled:
        compiled, stored = self._compiled, self._rules.current
        ended = compiled.until is not None and compiled.until <= self._rules.now()
        variants = _NO_VARIANTS if self._experiments is None else self._experiments.variants
        if changed := variants is not self._variants:
            self._variants, self.file = variants, MappingProxyType({**self._of_file, **variants})
        if changed or stored is not compiled.stored or ended:
            compiled = self._compiled = _compile(self.file, stored, self._rules.now(), compiled)
        return compiled


def _compile(file: Mapping[str, Placement], stored: RuleVersion, now: datetime, before: _Compiled) -> _Compiled:
    active, placements = _of(file, before.active), _of(file, before.placements)
    for name, placement in file.items():
        own = stored.layer.at(replaced_placement(name), now)
        if name not in active or own != active[name]:
            active[name], placements[name] = own, rule_layer.layered(placement, own)
    unchanged = active == before.active
    return _Compiled(
        stored,
        stored.layer.next_end(now),
        before.active if unchanged else MappingProxyType(active),
        before.placements if unchanged else MappingProxyType(placements),
    )


def _of(file: Mapping[str, Placement], before: Mapping[str, _Value]) -> dict[str, _Value]:
    return {name: before[name] for name in file if name in before}


class RuleReader:
    """The version that counts, as last read. Without the database the last one stays."""

    def __init__(self, postgres: "Postgres", copy: Path | None = None) -> None:
        """Read through these connections, and keep the copy there."""
        self._postgres, self._copy = postgres, copy
        self._clock: tuple[datetime, float] | None = None
        """A time of the database, and the time of this process's monotonic clock at which it was read."""
        self._refreshing = asyncio.Lock()
        self.current = NO_VERSION
        self.read = False
        """Whether it was read at all."""

    async def refresh(self) -> None:
        """Read the newest version if it is another one. Raises PostgresDownError.

        Refreshes follow one another: otherwise one that began before a change could end after it.
        """
        async with self._refreshing:
            newest, moment = (await self._postgres.fetch(_NEWEST))[0]
            self._clock = moment, monotonic()
            if newest != self.current.version or not self.read:  # the copy may be that of another database
                before, rows = self.current, await self._postgres.fetch(_ONE, newest)
                self.current = _version(rows[0], orjson.loads(rows[0]["rules"])) if rows else NO_VERSION
                if self.current != before:
                    self._store()
            self.read = True

    def now(self) -> datetime:
        """Return the time of the database; before it was ever read, that of the version, so that no rule has ended."""
        if self._clock is None:
            return self.current.created_at
        moment, read_at = self._clock
        return moment + timedelta(seconds=monotonic() - read_at)

    def read_copy(self) -> None:
        """Take the version of the copy until the database is read."""
        try:
            stored = orjson.loads(self._copy.read_bytes()) if self._copy else None
            if stored is not None and not self.read:
                self.current = _version(stored, stored["rules"])
        except (OSError, ValueError, KeyError, TypeError):
            return

    def _store(self) -> None:
        """Store the copy in one step. Without it, a start without the database knows no rules."""
        if self._copy is None:
            return
        content = {**vars(self.current), "rules": rule_layer.layer_to_json(self.current.layer), "layer": None}
        with suppress(OSError):
            self._copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._copy, orjson.dumps(content))


def _version(row: Mapping[str, Any], rules: Any) -> RuleVersion:
    created_at = row["created_at"]
    at = datetime.fromisoformat(created_at) if isinstance(created_at, str) else created_at
    layer = rule_layer.layer_from_json(rules)
    return RuleVersion(row["version"], layer, row["author"], row["comment"], at, row["restores"])
