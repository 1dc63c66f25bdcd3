"""Defines the records of an ingest: a batch with its request, a chunk, and a line of the ledger."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypedDict

from models.ingest.check.non_goods import Suspect
from models.primitives.json_types import JsonObject
from tasks.quality.chunk_profile import ChunkProfile
from tasks.quality.chunk_profile import Counts as Counts


class SqlRequest(TypedDict):
    """Where the rows of a batch come from in a database, and how far it reaches. It counts once the batch does."""

    stream: str
    """The table or query, by the database and the cursor column."""
    url: str
    """The address without its login, or the variable that holds it."""
    options: dict[str, str]
    """The options of the command."""
    kind: str | None
    """The kind of the cursor; None before the first position."""
    position: str | None
    """The value of the cursor from which the next run continues."""
    columns: dict[str, str]
    """All columns of the table, with the kinds of those that were read."""


class IngestRequest(TypedDict, total=False):
    """How a batch was requested, so that its rows can be read again in the same way."""

    mapping: str
    overrides: dict[str, str]
    """Keys of the mapping that the request replaces."""
    sql: SqlRequest
    """For rows of a database."""
    read_at: str
    """When an API delivered the content, most recently."""


class LedgerEntry(TypedDict, total=False):
    """A batch's line in the ledger, as an ingest returns it."""

    batch_id: str
    dataset: str
    source: str
    status: str
    consent: str
    read: int
    accepted: int
    quarantined: int
    duplicate: int
    suppressed: int
    routed: int
    late: int
    detail: str | None
    data_docs: str | None
    """The address of the batch's Data Docs."""
    file: str
    correction: JsonObject
    """Rows that were left out because accepted rows have their ids and other values."""
    currencies: "CurrencyAdvice"
    suspects: list[Suspect]
    """Items that look like no goods."""
    suspects_found: int
    suspects_mark: str | None
    odd_prices: "OddPrices"


class CurrencyAdvice(TypedDict):
    """A source has amounts in several currencies."""

    says: str
    advice: str
    write: str


class OddPrices(TypedDict):
    """Items whose prices are more likely wrong than that they are no goods."""

    items: int
    example: Suspect
    batch: JsonObject | None
    check: str


@dataclass(frozen=True)
class Batch:
    """One file of one source. Its id is made of its content, so that the same content is the same batch."""

    batch_id: str
    dataset: str
    source: str
    location: str
    consent: str
    request: IngestRequest = field(default_factory=IngestRequest)
    refund_order: bool = False
    """Whether its refunds take back only purchases of the order that they name."""


@dataclass(frozen=True)
class ChunkEntry:
    """The counts and the profile of one chunk."""

    batch_id: str
    chunk: int
    counts: Counts
    profile: ChunkProfile

    @property
    def row(self) -> dict[str, object]:
        """The row of `ingest_chunks`."""
        return {"batch_id": self.batch_id, "chunk": self.chunk, "profile": self.profile, **self.counts}


class StatedRow(NamedTuple):
    """A row of a table of items or users, as a batch stated it."""

    key: str
    values: JsonObject
    times: dict[str, str]
    """By column or attribute, when its value was stated."""


class Agreement(NamedTuple):
    """A user agreed by an event after a refusal."""

    user_key: str
    refused_at: datetime
    agreed_at: datetime
