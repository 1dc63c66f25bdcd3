"""Writes a copy of the stored data of a user: provided by the user, observed, and inferred."""

import csv
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow.compute as pc
from sqlalchemy import Connection, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from infra.database.privacy_requests import COPY_DAYS
from infra.database.schema.privacy_schema import EXPORT, privacy_files, privacy_requests, privacy_subjects
from infra.database.schema.schema import items
from infra.installation import Installation
from infra.keys.identity import pseudonym
from infra.lake.delta_lake import Lake
from models import columns
from models.errors import TailorbirdError
from tasks.privacy.register import key_columns
from tasks.privacy.requests import finish, keys_of

Rows = list[dict[str, Any]]
_TRAITS: Final = """
    SELECT trait.key AS name, trait.value, users.field_timestamps ->> trait.key AS since
    FROM users CROSS JOIN LATERAL jsonb_each_text(attributes) AS trait
    WHERE user_key = ANY(:keys) AND trait.value <> ''
    UNION ALL SELECT name, value, since::text FROM user_history WHERE user_key = ANY(:keys) ORDER BY 1, 3"""
_CONSENT: Final = """
    SELECT consent, consent_source AS source, consent_at, refused_at, first_seen_on FROM users
    WHERE user_key = ANY(:keys)"""
_LISTS: Final = """
    SELECT live.placement, entry.place AS rank, word.item_id, item.title, why.reason, entry.score
    FROM placements AS live JOIN recommendations AS list USING (batch_id)
    CROSS JOIN LATERAL unnest(list.items, list.scores, list.reasons) WITH ORDINALITY AS entry (code, score, why, place)
    JOIN batch_items AS word ON word.batch_id = live.batch_id AND word.item_code = entry.code
    LEFT JOIN batch_reasons AS why ON why.batch_id = live.batch_id AND why.reason_code = entry.why
    LEFT JOIN items AS item ON item.item_id = word.item_id
    WHERE list.subject = ANY(:keys) AND NOT EXISTS (SELECT FROM exclusions AS objection
        WHERE objection.user_key = list.subject AND objection.kind = 'placement' AND objection.value = live.placement)
    ORDER BY 1, 2"""
_SEGMENTS: Final = """
    SELECT dataset_version, rfm AS purchases, demographic FROM segments WHERE user_key = ANY(:keys) ORDER BY 1"""
_HIDDEN: Final = "SELECT kind, value, since FROM exclusions WHERE user_key = ANY(:keys) ORDER BY 3"
_PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "consent": ("Provided: whether you agree to the use of your data.", _CONSENT),
    "traits": ("Provided: what the shop knows of you, with earlier values.", _TRAITS),
    "hidden": ("Provided: what you do not want to be shown.", _HIDDEN),
    "segments": ("Inferred: the groups of customers that your purchases and traits put you in.", _SEGMENTS),
    "lists": ("Inferred: what is recommended to you now, and why.", _LISTS),
}
_EVENTS: Final = "Observed: what you looked at, bought, rated and were shown."
_STORED: Final = "All rows of all tables that name you, as they are stored."
_UNSHOWN: Final = (f"identity.{privacy_subjects.name}", f"identity.{privacy_files.name}")
"""What a request leaves until it is done, and earlier copies."""
_INTERNAL: Final = (columns.PAYLOAD_HASH, columns.USER_KEY, columns.MONTH)


def export_user(installation: Installation, user_id: str, file: Path) -> dict[str, int]:
    """Write a zip with an index, and each part as JSON and CSV; returns the rows by part.

    It holds raw values, and only its owner can read it. Raises TailorbirdError for a file that exists.
    """
    try:
        stream = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise TailorbirdError(f"{file} cannot be written: {error.strerror}. Name a new file with --to.") from None
    with stream:
        return _write(installation, user_id, stream)


def store_exports(installation: Installation) -> int:
    """Store the copies that open requests ask for, and delete those that are too old; returns the new ones."""
    subject, engine = privacy_subjects.c, installation.engine
    with engine.begin() as connection:
        connection.execute(
            delete(privacy_files).where(privacy_files.c.made_at < func.now() - timedelta(days=COPY_DAYS))
        )
        named = select(subject.request_id, subject.user_id).join(privacy_requests).order_by(subject.request_id)
        waiting = connection.execute(named.where(privacy_requests.c.kind == EXPORT)).all()
    for number, user_id in waiting:
        stream = io.BytesIO()
        _write(installation, user_id, stream)
        row = {"request_id": number, "user_key": pseudonym(user_id, installation.key), "content": stream.getvalue()}
        with engine.begin() as connection:
            connection.execute(insert(privacy_files).values(row).on_conflict_do_nothing())
            finish(connection, number)
    return len(waiting)


def _write(installation: Installation, user_id: str, stream: BinaryIO) -> dict[str, int]:
    with installation.engine.connect() as connection:
        keys = keys_of(connection, installation, [user_id])
        parts = {name: _rows(connection, statement, keys) for name, (_, statement) in _PARTS.items()}
        parts["events"] = _events(connection, installation.lake, [*keys])
        stored = dict(_stored(connection, [*keys]))
    about = {name: sentence for name, (sentence, _) in _PARTS.items()} | {"events": _EVENTS}
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.txt", _index(user_id, parts, about))
        for name, rows in parts.items():
            archive.writestr(f"{name}.json", _json(rows))
            archive.writestr(f"{name}.csv", _csv(rows))
        archive.writestr("stored.json", _json(stored))
    return {name: len(rows) for name, rows in parts.items()}


def _rows(connection: Connection, statement: str, keys: Mapping[str, str | None]) -> Rows:
    return [dict(row) for row in connection.execute(text(statement), {"keys": list(keys)}).mappings()]


def _events(connection: Connection, lake: Lake, keys: Sequence[str]) -> Rows:
    table = lake.events()
    if table is None:
        return []
    rows = table.to_pyarrow_dataset().to_table(filter=pc.field(columns.USER_KEY).isin(keys))
    rows = rows.drop_columns([name for name in _INTERNAL if name in rows.column_names]).sort_by(columns.OCCURRED_AT)
    events: Rows = rows.to_pylist()
    ids = {event[columns.ITEM_ID] for event in events}
    named = select(items.c.item_id, items.c.title).where(items.c.item_id.in_(ids))
    titles = dict(connection.execute(named).tuples().all())
    return [{columns.TITLE: titles.get(event[columns.ITEM_ID]), **event} for event in events]


def _stored(connection: Connection, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for known in key_columns(connection):
        if known.table in _UNSHOWN:
            continue
        statement = f"SELECT to_jsonb(entry) FROM {known.table} AS entry WHERE {known.column} = ANY(:keys)"
        if found := connection.execute(text(statement), {"keys": list(keys)}).scalars().all():
            yield f"{known.table}.{known.column}", found


def _index(user_id: str, parts: Mapping[str, Rows], about: Mapping[str, str]) -> str:
    lines = [f"The data of {user_id}", "", "Each part is a .json and a .csv file of the same content.", ""]
    lines += [f"{name}: {about[name]} {len(rows):,} rows." for name, rows in parts.items()]
    return "\n".join([*lines, f"stored.json: {_STORED}", ""])


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False, indent=1)


def _csv(rows: Rows) -> str:
    written = io.StringIO()
    writer = csv.DictWriter(written, [*dict.fromkeys(name for row in rows for name in row)])
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()
