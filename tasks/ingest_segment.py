"""Takes a file of Segment's calls in: events, and what they say about the catalogue, users and devices."""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from sqlalchemy import Connection, bindparam, update

from infra.bulk import upsert
from infra.identity import pseudonyms
from infra.installation import current
from infra.schema import aliases, items, users
from models import columns
from models.shapes import segment, shaped
from models.shapes.segment_mapping import SegmentMapping
from models.shapes.shaped import Shaped
from models.sql import query
from tasks import ledger, sift
from tasks.batches import pseudonymised
from tasks.intake import Intake, Part, Policy, ingest_batch
from tasks.sources import files, lines
from tasks.sources.mappings import read_segment_mapping

_UNREADABLE = "unreadable"
_BESIDE = (shaped.ROW_NUMBER, shaped.ANONYMOUS_ID, columns.RECEIVED_AT, columns.CONSENT)
"""Columns of an event that say nothing of what happened: the same event may come again with others."""


def _keys(ids: pa.ChunkedArray, key: bytes) -> list[str | None]:
    raw = ids.to_pylist()
    names = pseudonyms((i for i in raw if i is not None), key)
    return [names.get(i) for i in raw]


def _events(found: Shaped, key: bytes, first: int) -> tuple[pa.Table, dict[str, str]]:
    """The events hashed and numbered from `first`, each with the line it comes from and when Segment received it."""
    said = found.events
    whole = pc.and_(pc.equal(said[columns.EVENT_TYPE], columns.REFUND), pc.is_null(said[columns.ITEM_ID]))
    item = pc.if_else(whole, columns.WHOLE_ORDER, said[columns.ITEM_ID])
    said = said.set_column(said.schema.get_field_index(columns.ITEM_ID), columns.ITEM_ID, item)
    events, names = pseudonymised(said.drop_columns(list(_BESIDE)), key)
    numbers = pa.array(range(first, first + len(events)), pa.int64())
    received = found.events[columns.RECEIVED_AT]
    hashed = sift.fingerprint(events).append_column(sift.ROW, numbers)
    return hashed.append_column(columns.RECEIVED_AT, received), names


def _unreadable(found: Shaped, rows: pa.Table, path: Path, first: int) -> pa.Table:
    """Lines that say nothing, for quarantine: where they are and why, never what they hold."""
    bad = found.unreadable
    where = query(
        'SELECT bad.*, rows."offset" FROM bad JOIN rows USING (row_number) ORDER BY row_number',
        bad=bad,
        rows=rows.select([lines.ROW_NUMBER, lines.OFFSET]),
    )
    return pa.table(
        {
            "file": pa.repeat(path.name, len(where)),
            "line": pc.add(where[lines.ROW_NUMBER], 1),
            "offset": where[lines.OFFSET],
            "reason": where[shaped.REASON],
            "sha256": where[shaped.SHA256],
            sift.ROW: pa.array(range(first, first + len(where)), pa.int64()),
            sift.RULES: pa.array([[_UNREADABLE]] * len(where), pa.list_(pa.string())),
        }
    )


def _update(intake: Intake, found: Shaped, stored: dict[str, int], connection: Connection) -> None:
    """Store what a chunk says about items, users, their consent and their devices.

    `stored` knows what was said last of each item: most blocks repeat it, and need not be stored again.
    """
    batch_id = intake.batch.batch_id
    names = (columns.ITEM_ID, columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE, columns.CURRENCY)
    said = [found.items[name].to_pylist() for name in names]
    attributes = [json.dumps(_present(row)) for row in found.items[columns.ATTRIBUTES].to_pylist()]
    rows = [(*row, True, batch_id) for row in zip(*said, attributes, strict=True) if stored.get(row[0]) != hash(row)]
    upsert(
        connection,
        items,
        (*names, columns.ATTRIBUTES, columns.AVAILABLE, columns.BATCH_ID),
        rows,
        kept=(columns.AVAILABLE,),
        merge=True,
    )
    stored.update((row[0], hash(row[:-2])) for row in rows)
    _update_consent(intake, found, connection)
    _update_users(intake, found, connection)
    keys = zip(
        _keys(found.aliases[shaped.ANONYMOUS_ID], intake.here.key),
        _keys(found.aliases[columns.USER_ID], intake.here.key),
        found.aliases[columns.OCCURRED_AT].to_pylist(),
        strict=True,
    )
    gone = set(intake.suppressed.to_pylist())
    # The last call of a device decides.
    last = {device: (device, user, at, batch_id) for device, user, at in keys if not {user, device} & gone}
    named = ("anonymous_key", columns.USER_KEY, columns.OCCURRED_AT, columns.BATCH_ID)
    upsert(connection, aliases, named, last.values())


def _present(row: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (row or {}).items() if value is not None}


def _update_consent(intake: Intake, found: Shaped, connection: Connection) -> None:
    """The latest thing that each user said about consent, where it changes what is stored."""
    said = query(
        """
        SELECT user_id, arg_max(consent, (coalesce(epoch_us(occurred_at), 0), row_number)) AS consent FROM (
            SELECT user_id, consent, occurred_at, row_number FROM events UNION ALL
            SELECT user_id, consent, occurred_at, row_number FROM people
        ) WHERE consent IS NOT NULL AND user_id IS NOT NULL GROUP BY 1
        """,
        events=found.events,
        people=found.users.drop_columns([columns.ATTRIBUTES]),
    )
    refused = set(intake.refused.to_pylist())
    keys = zip(_keys(said[columns.USER_ID], intake.here.key), said[columns.CONSENT].to_pylist(), strict=True)
    changes = [{"key": key, "said": consent} for key, consent in keys if not consent or key in refused]
    if changes:
        mine = users.c.user_key == bindparam("key")
        source = "context.consent of the user's latest event"
        connection.execute(update(users).where(mine).values(consent=bindparam("said"), consent_source=source), changes)


def _update_users(intake: Intake, found: Shaped, connection: Connection) -> None:
    """Traits of users who are known, which means that they agreed; the later call wins, trait by trait."""
    keys = _keys(found.users[columns.USER_ID], intake.here.key)
    said: dict[str, dict[str, Any]] = {}
    for key, row in zip(keys, found.users[columns.ATTRIBUTES].to_pylist(), strict=True):
        if key is not None:
            said.setdefault(key, {}).update(_present(row))
    changes = [{"key": key, "said": traits} for key, traits in said.items() if traits]
    if changes:
        added = users.c.attributes.op("||")(bindparam("said", type_=users.c.attributes.type))
        connection.execute(update(users).where(users.c.user_key == bindparam("key")).values(attributes=added), changes)


def parts_of(intake: Intake, mapping: SegmentMapping, path: Path) -> Iterator[tuple[Part, int]]:
    """All chunks of a file, each with the number of its bytes."""
    first, key = 0, intake.here.key
    stored: dict[str, int] = {}
    shape: Callable[[pa.Table], Shaped] = partial(
        segment.shape,
        rule=mapping.page_rule(),
        meanings=mapping.meanings(),
        traits=mapping.traits,
        consent_categories=mapping.consent_categories,
    )
    for rows in lines.chunks(path):
        found = shape(rows)
        named = pc.unique(found.items[columns.ITEM_ID])
        intake.catalogue = pa.concat_arrays([intake.catalogue, named.cast(pa.string())])
        events, names = _events(found, key, first)
        bad = _unreadable(found, rows, path, first + len(events))
        update_all = partial(_update, intake, found, stored)
        part = Part(events, names, found.events[columns.CONSENT], len(found.routed), bad, update_all)
        yield part, int(pc.sum(pc.binary_length(rows[lines.TEXT])).as_py() or 0) + len(rows)
        first += part.read


@task(description="One file of a Segment export: every line accounted for.")
def ingest_segment(mapping_name: str, path: str) -> dict[str, Any]:
    """Ingest a file of Segment's calls; returns the batch's line in the ledger.

    The same file again changes nothing; after a crash it goes on where it stopped. Raises BatchRefusedError.
    """
    here, mapping, file = current(), read_segment_mapping(mapping_name), Path(path)
    meaning = hashlib.sha256(mapping.model_dump_json().encode()).hexdigest()
    batch_id = f"{mapping.name}-events-{files.digest(file)[:12]}-{meaning[:4]}"
    batch = ledger.Batch(batch_id, "events", mapping.name, str(file), mapping.consent_note)
    policy = Policy(mapping.name, mapping.consent, mapping.consent_note, mapping.unknown_items)
    size = file.stat().st_size
    return ingest_batch(here, policy, batch, lambda intake: parts_of(intake, mapping, file), size)
