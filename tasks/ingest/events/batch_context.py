"""Opens a batch of events: its context, with the reference data at its start, and what its run has met since."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Select, select

from expectations import events as event_rules
from expectations.rules import RowRule
from infra.database.bulk_copy import read_table
from infra.database.engine import database_now
from infra.database.schema.offers import unconfirmed
from infra.database.schema.schema import items, suppressions, users
from infra.installation import Installation
from infra.keys.credentials import DEVICE
from infra.keys.identity import pseudonyms
from models import columns
from models.ingest import placeholder_ids
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.table_mapping import Mapping
from models.primitives.json_types import JsonObject
from tasks.ingest import ledger
from tasks.ingest.rows import apply
from tasks.ingest.rows.apply import Update
from tasks.ingest.rows.consent import Answers, answers_of
from tasks.ingest.rows.quarantine import quarantined_subjects
from tasks.ingest.validation.deduplication import HashSet, KnownIds
from tasks.ingest.validation.event_enrichment import KEY_HASH
from tasks.quality.chunk_profile import Counts
from tasks.sources.table_files import RowNumbering


def no_texts() -> pa.Array:
    """Return an array without texts. Arrow imports pandas with the first array, so none is made before a run."""
    return pa.array([], pa.string())


@dataclass(frozen=True)
class BatchContext:
    """A batch that is being ingested, with the reference data at its start. It never changes."""

    installation: Installation
    mapping: SourceMapping
    batch: ledger.Batch
    catalogue: pa.Array
    non_merchandise: pa.Array
    suppressed: pa.Array
    now: datetime
    late_before: datetime
    rules: tuple[RowRule, ...]
    unconfirmed: pa.Array = field(default_factory=no_texts)
    """The items of the catalogue that only pages have named."""
    quarantined_subjects: pa.Array = field(default_factory=no_texts)
    """The events, items or users of the source's rows in quarantine."""
    has_earlier_users: bool = False
    """Whether earlier batches brought users."""
    confirm: Callable[[], None] = lambda: None
    """Raises an error if another run may write to the lake by now."""


@dataclass
class RunState:
    """The users, items and events that the run of a batch has met so far."""

    read_answers: Callable[[pa.ChunkedArray], Answers]
    """Returns the answers about consent of users, from before this batch."""
    event_ids: KnownIds
    refused_before: set[str] = field(default_factory=set)
    """Users who ever refused: only theirs is the time of an agreement relevant."""
    refused: pa.Array = field(default_factory=no_texts)
    agreed: pa.Array = field(default_factory=no_texts)
    """Users by their answers before this batch."""
    unanswered: pa.Array = field(default_factory=no_texts)
    """Those of `refused` who never answered."""
    new_items: pa.Array = field(default_factory=no_texts)
    """The items that chunks have added to the catalogue."""
    stated_items: set[tuple[str, str]] = field(default_factory=set)
    """Items that batches of this run have stated as seen."""
    _users: HashSet = field(default_factory=HashSet)
    _introduced: HashSet = field(default_factory=HashSet)
    """Users whose raw ids are stored."""

    def meet(self, *tables: pa.Table) -> None:
        """Read the answers of the users whom no earlier chunk names."""
        users = pa.concat_tables([rows.select([columns.USER_KEY, KEY_HASH]) for rows in tables])
        hashed = users[KEY_HASH].to_numpy()
        new = ~self._users.contains(hashed)
        self._users.add(hashed[new])
        answers = self.read_answers(users[columns.USER_KEY].filter(pa.array(new)))
        self.refused = pa.concat_arrays([self.refused, answers.refused])
        self.agreed = pa.concat_arrays([self.agreed, answers.agreed])
        self.unanswered = pa.concat_arrays([self.unanswered, answers.unanswered])
        self.refused_before.update(answers.refused.to_pylist())
        introduced = pc.is_in(users[columns.USER_KEY], value_set=answers.introduced)
        self._introduced.add(hashed[introduced.to_numpy()])

    def introduce(self, users: pa.Table) -> pa.Table:
        """Return the users whom this run names for the first time: their raw ids are stored from here on."""
        hashed = users[KEY_HASH].to_numpy()
        unknown = ~self._introduced.contains(hashed)
        self._introduced.add(hashed[unknown])
        return users.filter(pa.array(unknown)).select([columns.USER_ID, columns.USER_KEY])


@dataclass(frozen=True)
class EventChunk:
    """One chunk of a batch: its prepared events, and its other rows."""

    events: pa.Table
    """As `prepare_events` returns them."""
    users: pa.Table
    """`user_id` and `user_key` of all users of the events."""
    trait_users: pa.Table | None = None
    """The users who state traits, with their `consent` to that."""
    catalogue_items: pa.Array = field(default_factory=no_texts)
    """Items that the chunk itself adds to the catalogue."""
    routed: int = 0
    unreadable: pa.Table | None = None
    """Unreadable rows, with their numbers and rule ids."""
    updates: Callable[[RunState], Iterable[Update]] = lambda _run: ()
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


def rules_of(mapping: SourceMapping, key: bytes) -> tuple[RowRule, ...]:
    """Return the row rules of a source. They compare pseudonyms, so placeholder ids become pseudonyms, too."""
    ids = pa.array(mapping.placeholders, pa.string())
    placeholders = [*pseudonyms(ids, key).to_pylist(), *pseudonyms(ids, key, DEVICE).to_pylist()]
    required = mapping.events.required if isinstance(mapping, Mapping) and mapping.events else ()
    return event_rules.rules(placeholders, placeholder_ids.ITEMS, mapping.limits, required)


def _has_earlier_users(batch_id: str) -> Select[tuple[bool]]:
    return select(select(users.c.user_key).where(users.c.batch_id != batch_id).exists())


def open_context(
    installation: Installation, mapping: SourceMapping, batch: ledger.Batch, confirm: Callable[[], None] = lambda: None
) -> tuple[BatchContext, RunState]:
    """Return the context of a batch with the current catalogue and suppressions, and the ids of the lake's events."""

    def answers(keys: pa.ChunkedArray) -> Answers:
        with installation.engine.connect() as connection:
            return answers_of(connection, keys, batch.batch_id)

    with installation.engine.begin() as connection:

        def keys(statement: Select[tuple[str]]) -> pa.Array:
            return read_table(connection, statement, {"key": pa.string()})["key"].combine_chunks()

        context = BatchContext(
            installation,
            mapping,
            batch,
            catalogue=keys(select(items.c.item_id)),
            unconfirmed=keys(select(items.c.item_id).where(unconfirmed())),
            non_merchandise=keys(select(items.c.item_id).where(items.c.available.is_(False))),
            suppressed=keys(select(suppressions.c.user_key)),
            now=database_now(connection),
            late_before=ledger.late_before(connection, batch),
            has_earlier_users=bool(connection.execute(_has_earlier_users(batch.batch_id)).scalar()),
            quarantined_subjects=quarantined_subjects(connection, batch),
            rules=rules_of(mapping, installation.key),
            confirm=confirm,
        )
        refused_before = {key for key, _ in apply.refusals(connection, batch.batch_id)}
    return context, RunState(answers, KnownIds(installation.lake), refused_before)
