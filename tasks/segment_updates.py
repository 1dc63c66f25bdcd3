"""What a chunk of Segment's calls says about items, users, their consent and their devices."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from infra.identity import pseudonyms
from models import columns
from models.shapes import shaped
from models.shapes.shaped import Shaped
from models.sql import query
from tasks.intake import Intake
from tasks.updates import CONSENT, DEVICE, ITEM, TRAITS, Update

_SOURCE = "context.consent of the user's latest event"


class Catalogue:
    """What a file has said of each item: most product blocks repeat it, and need not be stored again."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._said: dict[str, _Said] = {}

    def hear(self, item: str, said: dict[str, Any], moment: datetime | None) -> Update | None:
        """What is to be stored of it; nothing of what only repeats what is known."""
        before, text = self._said.get(item), json.dumps(said)
        if before is None or (_moment(moment) >= _moment(before.last) and before.text != text):
            self._said[item] = _Said(text, moment, moment)
            return Update(ITEM, item, said, moment)
        if before.text == text:
            self._said[item] = before._replace(last=max(before.last, moment, key=_moment))
            return None
        later = json.loads(before.text)
        both = {**said, **later, columns.ATTRIBUTES: said[columns.ATTRIBUTES] | later[columns.ATTRIBUTES]}
        self._said[item] = _Said(json.dumps(both), before.last, before.last)
        return Update(ITEM, item, both, before.last)

    def repeated(self) -> Iterator[Update]:
        """What was said once more after it was stored: other files may have said something else in between."""
        for item, said in self._said.items():
            if said.last != said.stored:
                yield Update(ITEM, item, json.loads(said.text), said.last)


class _Said(NamedTuple):
    text: str
    stored: datetime | None
    last: datetime | None


def updates_of(found: Shaped, catalogue: Catalogue, last: bool, intake: Intake) -> Iterator[Update]:
    """Everything that a chunk, maybe the `last`, says besides events; nothing of it about who is suppressed."""
    yield from _items(found, catalogue)
    if last:
        yield from catalogue.repeated()
    gone = set(intake.suppressed.to_pylist())
    for update in (*_consents(found, intake), *_traits(found, intake.here.key), *_devices(found, intake.here.key)):
        if update.key not in gone and update.said.get(columns.USER_KEY) not in gone:
            yield update


def _items(found: Shaped, catalogue: Catalogue) -> Iterator[Update]:
    names = (columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE, columns.CURRENCY, columns.ATTRIBUTES)
    for row in found.items.select([columns.ITEM_ID, *names, columns.OCCURRED_AT]).to_pylist():
        said = _present({name: row[name] for name in names})
        said[columns.ATTRIBUTES] = _present(said.get(columns.ATTRIBUTES))
        update = catalogue.hear(row[columns.ITEM_ID], said, row[columns.OCCURRED_AT])
        if update is not None:
            yield update


def _present(row: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (row or {}).items() if value is not None}


def _consents(found: Shaped, intake: Intake) -> Iterator[Update]:
    """The latest answer of each user. That somebody agrees is news only of who has refused before."""
    said = query(
        """
        SELECT user_id, max_by(consent, place) AS consent, max_by(occurred_at, place) AS occurred_at FROM (
            SELECT user_id, consent, occurred_at,
                (least(coalesce(epoch_us(occurred_at), 0), epoch_us(now())), row_number) AS place
            FROM (SELECT user_id, consent, occurred_at, row_number FROM events
                  UNION ALL SELECT user_id, consent, occurred_at, row_number FROM answers)
            WHERE consent IS NOT NULL AND user_id IS NOT NULL
        ) GROUP BY 1
        """,
        events=found.events.select([columns.USER_ID, columns.CONSENT, columns.OCCURRED_AT, shaped.ROW_NUMBER]),
        answers=found.answers,
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
    return _moment(said[2])


def _moment(said_at: datetime | None) -> datetime:
    return said_at or datetime.min.replace(tzinfo=UTC)
