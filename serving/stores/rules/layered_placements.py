"""The placements as they are now: those of the file under the rules of operators."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Protocol

from models.lists.rules.layer.applied_rules import layered
from models.lists.rules.layer.rule_layer import NO_RULES, RuleLayer
from models.lists.rules.layer.rule_version import NO_VERSION, RuleVersion
from models.lists.rules.placement_config import Placement


class CurrentRules(Protocol):
    """The version that counts, and the time by which its rules end."""

    @property
    def current(self) -> RuleVersion: ...

    def now(self) -> datetime:
        """Return the time of the database."""


@dataclass(frozen=True)
class FixedRules:
    """One version at one moment."""

    current: RuleVersion = NO_VERSION
    moment: datetime = NO_VERSION.created_at

    def now(self) -> datetime:
        """Return the moment."""
        return self.moment


_NONE: Final = FixedRules()


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

    def __init__(self, file: Mapping[str, Placement], rules: CurrentRules = _NONE) -> None:
        """Lay these rules over those of the file; by default there are none."""
        self.file, self._rules = file, rules
        self._compiled = _Compiled(NO_VERSION, None, dict.fromkeys(file, NO_RULES), file)

    def __getitem__(self, name: str) -> Placement:
        """Return a placement as it is now."""
        return self._now().placements[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the file."""
        return iter(self.file)

    def __len__(self) -> int:
        """Return the number of placements."""
        return len(self.file)

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
        if stored is not compiled.stored or ended:
            compiled = self._compiled = _compile(self.file, stored, self._rules.now(), compiled)
        return compiled


def _compile(file: Mapping[str, Placement], stored: RuleVersion, now: datetime, before: _Compiled) -> _Compiled:
    active, placements = dict(before.active), dict(before.placements)
    for name, placement in file.items():
        own = stored.layer.at(name, now)
        if own != active[name]:
            active[name], placements[name] = own, layered(placement, own)
    unchanged = active == before.active
    return _Compiled(
        stored,
        stored.layer.next_end(now),
        before.active if unchanged else MappingProxyType(active),
        before.placements if unchanged else MappingProxyType(placements),
    )
