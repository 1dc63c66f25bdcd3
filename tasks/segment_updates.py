"""What a chunk of Segment's calls says about items, users, their consent and their devices."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from infra.identity import pseudonyms
from models import columns
from models.shapes import shaped
from models.shapes.shaped import Shaped
from models.sql import query
from tasks.intake import Intake
from tasks.updates import CONSENT, DEVICE, ITEM, TRAITS, Update

Catalogue = dict[str, int]
"""What was said last of each item, as a hash: most product blocks repeat it, and need not be stored again."""
_SOURCE = "context.consent of the user's latest event"


def updates_of(found: Shaped, catalogue: Catalogue, intake: Intake) -> Iterator[Update]:
    """Everything that is said besides events; nothing of it about who is suppressed."""
    yield from _items(found, catalogue)
    gone = set(intake.suppressed.to_pylist())
    for update in (*_consents(found, intake), *_traits(found, intake.here.key), *_devices(found, intake.here.key)):
        if update.key not in gone and update.said.get(columns.USER_KEY) not in gone:
            yield update


def _items(found: Shaped, catalogue: Catalogue) -> Iterator[Update]:
    names = (columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE, columns.CURRENCY, columns.ATTRIBUTES)
    for row in found.items.select([columns.ITEM_ID, *names, columns.OCCURRED_AT]).to_pylist():
        said = _present({name: row[name] for name in names})
        said[columns.ATTRIBUTES] = _present(said.get(columns.ATTRIBUTES))
        hashed = hash(repr(said))
        if catalogue.get(row[columns.ITEM_ID]) != hashed:
            catalogue[row[columns.ITEM_ID]] = hashed
            yield Update(ITEM, row[columns.ITEM_ID], said, row[columns.OCCURRED_AT])


def _present(row: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (row or {}).items() if value is not None}


def _consents(found: Shaped, intake: Intake) -> Iterator[Update]:
    """The latest answer of each user. That somebody agrees is news only of who has refused before."""
    said = query(
        """
        SELECT user_id, max_by(consent, place) AS consent, max_by(occurred_at, place) AS occurred_at FROM (
            SELECT user_id, consent, occurred_at, (coalesce(epoch_us(occurred_at), 0), row_number) AS place
            FROM (SELECT user_id, consent, occurred_at, row_number FROM events
                  UNION ALL SELECT user_id, consent, occurred_at, row_number FROM people)
            WHERE consent IS NOT NULL AND user_id IS NOT NULL
        ) GROUP BY 1
        """,
        events=found.events.select([columns.USER_ID, columns.CONSENT, columns.OCCURRED_AT, shaped.ROW_NUMBER]),
        people=found.users.select([columns.USER_ID, columns.CONSENT, columns.OCCURRED_AT, shaped.ROW_NUMBER]),
    )
    keys = pseudonyms(said[columns.USER_ID].combine_chunks(), intake.here.key).to_pylist()
    answers = zip(keys, said[columns.CONSENT].to_pylist(), said[columns.OCCURRED_AT].to_pylist(), strict=True)
    for key, agreed, moment in answers:
        if not agreed:
            intake.doubted.add(key)
        if key in intake.doubted:
            yield Update(CONSENT, key, {columns.CONSENT: agreed, "source": _SOURCE}, moment or intake.now)


def _traits(found: Shaped, key: bytes) -> list[Update]:
    """One update per user: of each trait what was said last."""
    keys = pseudonyms(found.users[columns.USER_ID].combine_chunks(), key).to_pylist()
    last: dict[str, Update] = {}
    said, moments = (found.users[name].to_pylist() for name in (columns.ATTRIBUTES, columns.OCCURRED_AT))
    for user, row, moment in sorted(zip(keys, said, moments, strict=True), key=_in_time):
        traits = _present(row)
        if user is not None and traits:
            before = last[user].said if user in last else {}
            last[user] = Update(TRAITS, user, before | traits, moment)
    return list(last.values())


def _devices(found: Shaped, key: bytes) -> list[Update]:
    """The last call of a device decides whose it is."""
    names = (shaped.ANONYMOUS_ID, columns.USER_ID)
    devices, owners = (pseudonyms(found.aliases[name].combine_chunks(), key).to_pylist() for name in names)
    moments = found.aliases[columns.OCCURRED_AT].to_pylist()
    calls = sorted(zip(devices, owners, moments, strict=True), key=_in_time)
    last = {device: Update(DEVICE, device, {columns.USER_KEY: owner}, at) for device, owner, at in calls}
    return list(last.values())


def _in_time(said: tuple[Any, Any, datetime | None]) -> datetime:
    """Sorts what was said by its time, the undated first; of the same time the order of the lines stays."""
    return said[2] or datetime.min.replace(tzinfo=UTC)
