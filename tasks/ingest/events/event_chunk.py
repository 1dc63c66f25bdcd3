"""Defines a chunk of events on its way through an ingest: as read, as classified, and as it is stored."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from models.primitives.json_types import JsonObject
from tasks.ingest.events.batch_context import Met
from tasks.ingest.ledger_records import Batch, ChunkEntry
from tasks.ingest.rows.apply import Update
from tasks.ingest.validation import row_triage
from tasks.quality.chunk_profile import ChunkProfile, Counts, with_counts
from tasks.sources.table_files import RowNumbering


@dataclass(frozen=True)
class EventChunk:
    """One chunk of a batch: its prepared events, and its other rows."""

    events: pa.Table
    """As `prepare_events` returns them."""
    users: pa.Table
    """`user_id` and `user_key` of all users of the events."""
    trait_users: pa.Table | None = None
    """The users who state traits, with their `consent` to that."""
    catalogue_items: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    """Items that the chunk itself adds to the catalogue."""
    routed: int = 0
    unreadable: pa.Table | None = None
    """Unreadable rows, with their numbers and rule ids."""
    updates: Callable[[Met], Iterable[Update]] = lambda _met: ()
    """The chunk's statements about the catalogue and about users. Some count only for users who refused or agreed."""
    cleaned: Counts = field(default_factory=dict)
    """Values that were respelled or filled in, by kind."""
    unread: JsonObject = field(default_factory=dict)
    """Unreadable cells, as `models.ingest.tabular.unreadable_cells` describes them."""
    numbering: RowNumbering | None = None
    """How the file numbers its rows, unless it is a file of lines."""

    @property
    def read(self) -> int:
        """The number of rows in this chunk."""
        return len(self.events) + self.routed + (len(self.unreadable) if self.unreadable is not None else 0)


@dataclass(frozen=True)
class ClassifiedChunk:
    """A chunk's events with the columns that rules need, and the events that the rules do not concern."""

    events: pa.Table
    suppressed: row_triage.Mask
    non_merchandise: row_triage.Mask
    outside_window: row_triage.Mask
    """Events that occurred outside the requested time window."""
    known_users: row_triage.Mask
    """Which users of the chunk are known from earlier batches."""
    unanswered_users: row_triage.Mask
    """Which users of the chunk never answered about consent."""

    @property
    def routed(self) -> row_triage.Mask:
        """Rows that are understood and not stored as events."""
        return self.non_merchandise | self.outside_window

    def sample(self, size: int) -> pa.Table:
        """Return a sample of the rows that the rules concern."""
        return row_triage.systematic_sample(self.events, size, ~(self.suppressed | self.routed))


@dataclass(frozen=True)
class PreparedChunk:
    """The rows of a chunk that PostgreSQL and the lake store."""

    batch: Batch
    chunk: int
    accepted: pa.Table
    """The accepted events, with the columns of the lake."""
    repeated: pa.Table
    introduced: pa.Table
    """`user_id` and `user_key` of the users whom this run names for the first time, with their batch."""
    updates: Sequence[Update]
    quarantined: Sequence[pa.Table]
    """Rows that break a rule, and unreadable lines."""
    counts: Counts
    profile: ChunkProfile

    def entry(self, new: int) -> ChunkEntry:
        """Return the ledger's record of the chunk; `new` rows of quarantine are stored for the first time."""
        repeated = sum(map(len, self.quarantined)) - new
        counts = self.counts | {"quarantined": new, "duplicate": self.counts["duplicate"] + repeated}
        return ChunkEntry(self.batch.batch_id, self.chunk, counts, with_counts(self.profile, counts))
