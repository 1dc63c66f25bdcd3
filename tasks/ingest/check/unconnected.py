"""Stands in for an installation: a key that only this process knows, no database, and nothing known or stored."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_hex
from tempfile import gettempdir
from uuid import uuid4

import pyarrow as pa

from infra.installation import Installation
from infra.lake.delta_lake import Lake
from models.ingest.source_config import SourceMapping
from tasks.ingest import ledger
from tasks.ingest.events.chunk_writer import Intake, Part
from tasks.ingest.events.open_intake import rules_of
from tasks.ingest.validation.deduplication import KnownIds


def _none() -> pa.Array:
    return pa.array([], pa.string())


class Unconnected(Installation):
    """An installation that never opens its database: its key exists in memory alone."""

    _key: bytes

    def __init__(self) -> None:
        """Make the key."""
        object.__setattr__(self, "_key", token_hex(32).encode())

    @property
    def key(self) -> bytes:
        """The key of the pseudonyms of this process."""
        return self._key


@dataclass
class Known:
    """What the files that were read so far say, in the place of tables."""

    installation: Unconnected = field(default_factory=Unconnected)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    items: pa.Array = field(default_factory=_none)
    not_merchandise: pa.Array = field(default_factory=_none)
    agreed: pa.Array = field(default_factory=_none)
    refused: pa.Array = field(default_factory=_none)
    amounts: list[pa.Table] = field(default_factory=list)
    """Amounts by item and currency, of each file of events."""
    whole_catalogue: bool = False
    """Whether `items` are all items of the source."""


class LookingIntake(Intake):
    """An intake that asks no database: whose answers the files have is known beforehand."""

    def meet(self, part: Part) -> None:
        """Look nobody up."""


def open_intake(mapping: SourceMapping, known: Known) -> Intake:
    """Return an intake that only looks at rows; without the whole catalogue every item counts as known."""
    if not known.whole_catalogue:
        mapping = mapping.model_copy(update={"unknown_items": "accept"})
    nowhere = Lake(f"{gettempdir()}/{uuid4()}")  # no folder, and so no events
    return LookingIntake(
        known.installation,
        mapping,
        ledger.Batch("check", "events", mapping.name, "", mapping.consent_note, {}),
        catalogue=known.items,
        routed=known.not_merchandise,
        suppressed=_none(),
        refused=known.refused,
        agreed=known.agreed,
        doubted=set(known.refused.to_pylist()),
        now=known.now,
        late_before=known.now,
        known=KnownIds(nowhere),
        rules=rules_of(mapping, known.installation.key),
    )
