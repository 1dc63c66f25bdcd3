"""What a chunk of Segment's calls says about items, users, their consent and their devices."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.keys.identity import pseudonyms
from models import columns
from models.ingest import canonical_schema
from models.ingest.canonical_schema import ParsedLines
from models.primitives.arrow_sql import query
from tasks.ingest.entity_updates.apply import CONSENT, DEVICE, TRAITS, USER_HISTORY, Update
from tasks.ingest.entity_updates.item_changes import ItemChanges
from tasks.ingest.entity_updates.item_update_cache import NEVER, Catalogue
from tasks.ingest.events.chunk_writer import Intake

_SOURCE: Final = "context.consent of the user's latest event"


def updates_of(
    found: ParsedLines, catalogue: Catalogue, changes: ItemChanges, last: bool, intake: Intake
) -> Iterator[Update]:
    """Everything that a chunk, maybe the `last`, says besides events; nothing of it about who is suppressed."""
    yield from catalogue.updates(found.items)
    yield from changes.updates(found.item_changes)
    if last:
        yield from catalogue.repeated()
    gone = set(intake.suppressed.to_pylist())
    for update in (
        *_consents(found, intake),
        *_traits(found, intake.installation.key),
        *_devices(found, intake.installation.key),
    ):
        if update.key not in gone and update.payload.get(columns.USER_KEY) not in gone:
            yield update


def _present(row: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (row or {}).items() if value is not None}


def _consents(found: ParsedLines, intake: Intake) -> Iterator[Update]:
    """The latest answer of each user, and the latest refusal.

    That an event was agreed to is news only of who has refused before: the lake keeps it. A refusal without a time is
    one of now; an agreement without a time is none.
    """
    said = query(
        """
        SELECT user_id, max_by(consent, (moment, NOT consent)) AS consent, max(moment) AS moment,
            max(moment) FILTER (WHERE NOT consent) AS refused_at, bool_or(apart) AS apart
        FROM (
            SELECT user_id, consent, apart,
                least(coalesce(occurred_at, CASE WHEN NOT consent THEN now() END), now()) AS moment
            FROM (SELECT user_id, consent, occurred_at, false AS apart FROM events
                  UNION ALL SELECT user_id, consent, occurred_at, consent AS apart FROM answers)
            WHERE consent IS NOT NULL AND user_id IS NOT NULL AND (occurred_at IS NOT NULL OR NOT consent)
        ) GROUP BY 1
        """,
        events=found.events.select([columns.USER_ID, columns.CONSENT, columns.OCCURRED_AT]),
        answers=found.answers,
    )
    keys = pseudonyms(said[columns.USER_ID].combine_chunks(), intake.installation.key)
    intake.doubted.update(keys.filter(pc.is_valid(said["refused_at"]).combine_chunks()).to_pylist())
    doubted = pc.is_in(keys, value_set=pa.array(intake.doubted, pa.string()))
    news = np.flatnonzero(pc.or_(said["apart"].combine_chunks(), doubted))
    for key, row in zip(keys.take(news).to_pylist(), said.take(news).to_pylist(), strict=True):
        refused_at = row["refused_at"].isoformat() if row["refused_at"] else None
        answer = {columns.CONSENT: row[columns.CONSENT], "source": _SOURCE, "refused_at": refused_at}
        yield Update(CONSENT, key, answer, row["moment"])


def _traits(found: ParsedLines, key: bytes) -> Iterator[Update]:
    """One update per user: of each trait what was said last, by calls that did not refuse."""
    keys = pseudonyms(found.users[columns.USER_ID].combine_chunks(), key).to_pylist()
    latest: dict[str, dict[str, tuple[datetime, str]]] = {}
    everything: dict[str, dict[str, list[tuple[datetime, str]]]] = {}
    said = (found.users[name].to_pylist() for name in (columns.ATTRIBUTES, columns.OCCURRED_AT, columns.CONSENT))
    for user, row, moment, agreed in zip(keys, *said, strict=True):
        if agreed is not False:
            mine = latest.setdefault(user, {})
            for name, value in _present(row).items():
                mine[name] = max(mine.get(name, (NEVER, "")), (_moment(moment), value))
                everything.setdefault(user, {}).setdefault(name, []).append((_moment(moment), value))
    for user, traits in latest.items():
        if traits:
            changes = [
                {"name": name, "since": None if at == NEVER else at.isoformat(), "value": value}
                for name, stated in everything[user].items()
                for at, value in _starts(stated)
            ]
            yield Update(USER_HISTORY, user, {"changes": changes}, None)
            times = {name: None if at == NEVER else at for name, (at, _) in traits.items()}
            yield Update(TRAITS, user, {name: value for name, (_, value) in traits.items()}, None, times)


def _starts(stated: list[tuple[datetime, str]]) -> list[tuple[datetime, str]]:
    """From when on which value counts; of several at the same time the greatest."""
    in_time = sorted(dict(sorted(stated)).items())
    return [one for place, one in enumerate(in_time) if place == 0 or in_time[place - 1][1] != one[1]]


def _devices(found: ParsedLines, key: bytes) -> list[Update]:
    """The last call of a device decides whose it is."""
    names = (canonical_schema.ANONYMOUS_ID, columns.USER_ID)
    devices, owners = (pseudonyms(found.aliases[name].combine_chunks(), key).to_pylist() for name in names)
    moments = found.aliases[columns.OCCURRED_AT].to_pylist()
    calls = sorted(zip(devices, owners, moments, strict=True), key=_in_time)
    last = {device: Update(DEVICE, device, {columns.USER_KEY: owner}, at) for device, owner, at in calls}
    return list(last.values())


def _in_time(said: tuple[str, str, datetime | None]) -> tuple[datetime, str]:
    """Sorts what was said of devices by its time, the undated first; of the same time the greater owner is the last."""
    return _moment(said[2]), said[1]


def _moment(said_at: datetime | None) -> datetime:
    return said_at or NEVER
