"""Replaces an installation in a check: a temporary key, no database, and no stored data."""

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
from tasks.ingest.events.classification import BatchContext, RunState, no_texts, rules_of
from tasks.ingest.rows.apply import Answers
from tasks.ingest.validation.event_identity import KnownIds


class Unconnected(Installation):
    """An installation that never opens its database and has its key only in memory."""

    _key: bytes

    def __init__(self) -> None:
        """Generate the key."""
        object.__setattr__(self, "_key", token_hex(32).encode())

    @property
    def key(self) -> bytes:
        """The key of the pseudonyms of this process."""
        return self._key


@dataclass
class CheckContext:
    """The items and users of the files so far, in place of database tables."""

    installation: Unconnected = field(default_factory=Unconnected)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    items: pa.Array = field(default_factory=no_texts)
    not_merchandise: pa.Array = field(default_factory=no_texts)
    agreed: pa.Array = field(default_factory=no_texts)
    refused: pa.Array = field(default_factory=no_texts)
    amounts: list[pa.Table] = field(default_factory=list)
    """Amounts by item and currency, of each file of events."""
    prices: list[pa.Table] = field(default_factory=list)
    """Items with their prices, of each catalogue file."""
    purchases: list[pa.Table] = field(default_factory=list)
    """Accepted events with their amounts, of each file of events."""
    whole_catalogue: bool = False
    """Whether `items` are all items of the source."""


def open_context(mapping: SourceMapping, files: CheckContext) -> tuple[BatchContext, RunState]:
    """Return the context of a batch that stores nothing; without the whole catalogue every item counts as known.

    All answers about consent are those of the files.
    """
    if not files.whole_catalogue:
        mapping = mapping.model_copy(update={"unknown_items": "accept"})
    context = BatchContext(
        files.installation,
        mapping,
        ledger.Batch("check", "events", mapping.name, "", mapping.consent_note),
        catalogue=files.items,
        non_merchandise=files.not_merchandise,
        suppressed=no_texts(),
        now=files.now,
        late_before=files.now,
        rules=rules_of(mapping, files.installation.key),
    )
    nobody = Answers(*[no_texts()] * 4)
    empty_lake = Lake(f"{gettempdir()}/{uuid4()}")  # the folder does not exist
    refused_before = set(files.refused.to_pylist())
    return context, RunState(lambda _: nobody, KnownIds(empty_lake), refused_before, files.refused, files.agreed)
