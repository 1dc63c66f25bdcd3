"""Opens an intake of events: what the installation knows when a batch begins."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from sqlalchemy import Select, select

from expectations import events as promises
from expectations.rules import RowRule
from infra.database.bulk_copy import read_table
from infra.database.clock import database_now
from infra.database.schema.schema import items, suppressions, users
from infra.installation import Installation
from infra.keys.identity import pseudonyms
from models.ingest import placeholder_ids
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.config import Mapping
from tasks.ingest import ledger
from tasks.ingest.entity_updates import apply as updates
from tasks.ingest.events.chunk_writer import Intake
from tasks.ingest.quarantine.resolved_rows import waiting_subjects
from tasks.ingest.validation.deduplication import KnownIds


def rules_of(mapping: SourceMapping, key: bytes) -> tuple[RowRule, ...]:
    """Return the row rules of a source. They compare pseudonyms, also of the words that stand for nobody."""
    words = placeholder_ids.spellings([*placeholder_ids.PEOPLE, *mapping.placeholder_ids])
    nobody = pseudonyms(pa.array(words, pa.string()), key).to_pylist()
    required = mapping.events.required if isinstance(mapping, Mapping) and mapping.events else ()
    return promises.rules(nobody, placeholder_ids.ITEMS, mapping.limits, required)


def _acquainted(batch_id: str) -> Select[Any]:
    return select(select(users.c.user_key).where(users.c.batch_id != batch_id).exists())


def open_intake(
    installation: Installation, mapping: SourceMapping, batch: ledger.Batch, confirm: Callable[[], None] = lambda: None
) -> Intake:
    """Return an intake with what is known now: catalogue, consent, suppressions, and the lake's events."""
    with installation.engine.begin() as connection:

        def keys(statement: Select[Any]) -> pa.Array:
            return read_table(connection, statement, {"key": pa.string()})["key"].combine_chunks()

        return Intake(
            installation,
            mapping,
            batch,
            catalogue=keys(select(items.c.item_id)),
            routed=keys(select(items.c.item_id).where(items.c.available.is_(False))),
            suppressed=keys(select(suppressions.c.user_key)),
            doubted={key for key, _ in updates.refusals(connection, batch.batch_id)},
            now=database_now(connection),
            late_before=ledger.late_before(connection, batch),
            known=KnownIds(installation.lake),
            acquainted=connection.execute(_acquainted(batch.batch_id)).scalar() is True,
            waiting=waiting_subjects(connection, batch),
            rules=rules_of(mapping, installation.key),
            confirm=confirm,
        )
