"""Opens an intake of events with the reference data at the start of a batch."""

from collections.abc import Callable

import pyarrow as pa
from sqlalchemy import Select, select

from expectations import events as event_rules
from expectations.rules import RowRule
from infra.database.bulk_copy import read_table
from infra.database.clock import database_now
from infra.database.schema.offers import unconfirmed
from infra.database.schema.schema import items, suppressions, users
from infra.installation import Installation
from infra.keys.identity import pseudonyms
from infra.keys.key_chain import DEVICE
from models.ingest import placeholder_ids
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest import ledger
from tasks.ingest.entity_updates import apply as updates
from tasks.ingest.events.chunk_writer import Intake
from tasks.ingest.quarantine.resolved_rows import quarantined_subjects
from tasks.ingest.validation.deduplication import KnownIds


def rules_of(mapping: SourceMapping, key: bytes) -> tuple[RowRule, ...]:
    """Return the row rules of a source. They compare pseudonyms, so placeholder ids become pseudonyms, too."""
    ids = pa.array(mapping.placeholders, pa.string())
    placeholders = [*pseudonyms(ids, key).to_pylist(), *pseudonyms(ids, key, DEVICE).to_pylist()]
    required = mapping.events.required if isinstance(mapping, Mapping) and mapping.events else ()
    return event_rules.rules(placeholders, placeholder_ids.ITEMS, mapping.limits, required)


def _has_earlier_users(batch_id: str) -> Select[tuple[bool]]:
    return select(select(users.c.user_key).where(users.c.batch_id != batch_id).exists())


def open_intake(
    installation: Installation, mapping: SourceMapping, batch: ledger.Batch, confirm: Callable[[], None] = lambda: None
) -> Intake:
    """Return an intake with the current catalogue, consent, suppressions and event ids of the lake."""
    with installation.engine.begin() as connection:

        def keys(statement: Select[tuple[str]]) -> pa.Array:
            return read_table(connection, statement, {"key": pa.string()})["key"].combine_chunks()

        return Intake(
            installation,
            mapping,
            batch,
            catalogue=keys(select(items.c.item_id)),
            unconfirmed=keys(select(items.c.item_id).where(unconfirmed())),
            non_merchandise=keys(select(items.c.item_id).where(items.c.available.is_(False))),
            suppressed=keys(select(suppressions.c.user_key)),
            refused_before={key for key, _ in updates.refusals(connection, batch.batch_id)},
            now=database_now(connection),
            late_before=ledger.late_before(connection, batch),
            known=KnownIds(installation.lake),
            has_earlier_users=bool(connection.execute(_has_earlier_users(batch.batch_id)).scalar()),
            quarantined_subjects=quarantined_subjects(connection, batch),
            rules=rules_of(mapping, installation.key),
            confirm=confirm,
        )
