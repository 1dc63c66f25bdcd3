"""Assigns visitors to the variants of running experiments, and keeps what was assigned in memory."""

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from models.experiments.definition import served_placements
from models.lists.rules.placement_config import Placement
from serving.stores.shared_loads import PostgresDownError

if TYPE_CHECKING:
    from serving.stores.postgres import Postgres

_RUNNING: Final = (
    "SELECT experiment_id, name, placements, definition::text AS definition FROM experiments "
    "WHERE started_at IS NOT NULL AND stopped_at IS NULL AND ends_at > now() ORDER BY experiment_id"
)
_ASSIGN: Final = "SELECT experiment, variant, served FROM assign_variants($1, $2, $3)"
_MOST: Final = 200_000


class Assignment(NamedTuple):
    """The variant that a visitor gets, and the placement whose lists it serves."""

    variant: str
    """The names of the experiment and of the variant, joined by a slash."""
    placement: str


class Experiments:
    """The running experiments, as last read, and the assignments of visitors."""

    def __init__(self, requests: "Postgres", background: "Postgres") -> None:
        """Read experiments in the background, and assign visitors through the connections for requests."""
        self._requests, self._background = requests, background
        self._known: list[tuple[int, str]] = []
        self._assigned: OrderedDict[tuple[str, str | None, str | None], Assignment | None] = OrderedDict()
        self.placements: frozenset[str] = frozenset()
        """The placements that have a running experiment."""
        self.variants: Mapping[str, Placement] = MappingProxyType({})
        """The placements that variants serve; the same object until an experiment starts or ends."""

    async def refresh(self) -> None:
        """Read the running experiments. Raises PostgresDownError; the last ones stay."""
        rows = await self._background.fetch(_RUNNING)
        known = [(row["experiment_id"], row["name"]) for row in rows]
        if known == self._known:
            return
        served = (served_placements(row["name"], orjson.loads(row["definition"])) for row in rows)
        self.variants = MappingProxyType({name: own for placements in served for name, own in placements.items()})
        self.placements = frozenset(name for row in rows for name in row["placements"])
        self._known = known
        self._assigned.clear()

    def forget(self, users: frozenset[str] | None) -> None:
        """Ask the database again for users who changed; None stands for all."""
        for key in [key for key in self._assigned if users is None or key[1] in users]:
            del self._assigned[key]

    async def assigned(self, placement: str, user_key: str | None, session_key: str | None) -> Assignment | None:
        """Return a visitor's variant, which the database stores. Without the database, the visitor has none."""
        if placement not in self.placements or not (user_key or session_key):
            return None
        key = placement, user_key, session_key
        if key in self._assigned:
            self._assigned.move_to_end(key)
            return self._assigned[key]
        known = self._known
        try:
            rows = await self._requests.fetch(_ASSIGN, *key)
        except PostgresDownError:
            return None
        found = Assignment(f"{rows[-1]['experiment']}/{rows[-1]['variant']}", rows[-1]["served"]) if rows else None
        if known is self._known:  # an experiment may have ended meanwhile
            self._assigned[key] = found
            if len(self._assigned) > _MOST:
                self._assigned.popitem(last=False)
        return found if found is None or found.placement in (placement, *self.variants) else None
