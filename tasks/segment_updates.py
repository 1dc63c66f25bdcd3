"""What a chunk of Segment's calls says about items, users, their consent and their devices."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from infra.identity import pseudonyms
from models import columns
from models.shapes import shaped
from models.shapes.segment_rows import ITEM_ATTRIBUTES
from models.shapes.shaped import Shaped
from models.sql import query
from tasks.intake import Intake
from tasks.later import WITHIN
from tasks.updates import CONSENT, DEVICE, ITEM, TRAITS, Update

SAID_AT: Final = "said_at"
_SOURCE: Final = "context.consent of the user's latest event"
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_OWN: Final = (columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE, columns.CURRENCY)
_KEYS: Final = (*_OWN, *(WITHIN + name for name in ITEM_ATTRIBUTES))
Times = tuple[datetime | None, ...]


class Catalogue:
    """What a file has said of each item: most product blocks repeat it, and need not be stored again."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._said: dict[str, _Said] = {}

    def hear(self, item: str, said: dict[str, Any], times: Times) -> Update | None:
        """What is to be stored of it; nothing of what only repeats what is known. Keys and times are in one order."""
        before, text = self._said.get(item), json.dumps(said)
        if before is not None and before.text != text:
            said, times = _both(json.loads(before.text), before.last, said, times)
            text = json.dumps(said)
        if before is not None and before.text == text:
            last = times if before.last == times else tuple(map(_later, before.last, times))
            self._said[item] = before._replace(last=last)
            return None
        self._said[item] = _Said(text, times, times)
        return _update(item, said, times)

    def repeated(self) -> Iterator[Update]:
        """What was said once more after it was stored: other files may have said something else in between."""
        for item, said in self._said.items():
            if said.last != said.stored:
                yield _update(item, json.loads(said.text), said.last)


class _Said(NamedTuple):
    text: str
    stored: Times
    last: Times


def _both(old: dict[str, Any], old_times: Times, new: dict[str, Any], new_times: Times) -> tuple[dict[str, Any], Times]:
    """Of each key what was said last; of what was said at the same time the greater, as `tasks.later` has it."""
    latest = {key: (_moment(at), value) for (key, value), at in zip(old.items(), old_times, strict=True)}
    for (key, value), at in zip(new.items(), new_times, strict=True):
        latest[key] = max(latest.get(key, (_NEVER, value)), (_moment(at), value))
    kept = {key: latest[key] for key in _KEYS if key in latest}
    times = tuple(None if moment == _NEVER else moment for moment, _ in kept.values())
    return {key: value for key, (_, value) in kept.items()}, times


def _update(item: str, said: dict[str, Any], times: Times) -> Update:
    own = {key: value for key, value in said.items() if not key.startswith(WITHIN)}
    attributes = {key.removeprefix(WITHIN): value for key, value in said.items() if key.startswith(WITHIN)}
    return Update(ITEM, item, {**own, columns.ATTRIBUTES: attributes}, None, dict(zip(said, times, strict=True)))


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
    names = (columns.ITEM_ID, *_OWN, columns.ATTRIBUTES, columns.OCCURRED_AT, SAID_AT)
    for row in found.items.select(names).to_pylist():
        row |= {WITHIN + name: value for name, value in row[columns.ATTRIBUTES].items()}
        said = {key: row[key] for key in _KEYS if row[key] is not None}
        apart, moment = row[SAID_AT], row[columns.OCCURRED_AT]
        times = tuple(apart[key.removeprefix(WITHIN)] for key in said) if apart else (moment,) * len(said)
        update = catalogue.hear(row[columns.ITEM_ID], said, times)
        if update is not None:
            yield update


def _present(row: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (row or {}).items() if value is not None}


def _consents(found: Shaped, intake: Intake) -> Iterator[Update]:
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
    keys = pseudonyms(said[columns.USER_ID].combine_chunks(), intake.here.key).to_pylist()
    for key, row in zip(keys, said.drop_columns([columns.USER_ID]).to_pylist(), strict=True):
        if row["refused_at"]:
            intake.doubted.add(key)
        if key in intake.doubted or row["apart"]:
            refused_at = row["refused_at"].isoformat() if row["refused_at"] else None
            answer = {columns.CONSENT: row[columns.CONSENT], "source": _SOURCE, "refused_at": refused_at}
            yield Update(CONSENT, key, answer, row["moment"])


def _traits(found: Shaped, key: bytes) -> Iterator[Update]:
    """One update per user: of each trait what was said last, by calls that did not refuse."""
    keys = pseudonyms(found.users[columns.USER_ID].combine_chunks(), key).to_pylist()
    latest: dict[str, dict[str, tuple[datetime, str]]] = {}
    said = (found.users[name].to_pylist() for name in (columns.ATTRIBUTES, columns.OCCURRED_AT, columns.CONSENT))
    for user, row, moment, agreed in zip(keys, *said, strict=True):
        if agreed is not False:
            mine = latest.setdefault(user, {})
            for name, value in _present(row).items():
                mine[name] = max(mine.get(name, (_NEVER, "")), (_moment(moment), value))
    for user, traits in latest.items():
        if traits:
            times = {name: None if at == _NEVER else at for name, (at, _) in traits.items()}
            yield Update(TRAITS, user, {name: value for name, (_, value) in traits.items()}, None, times)


def _devices(found: Shaped, key: bytes) -> list[Update]:
    """The last call of a device decides whose it is."""
    names = (shaped.ANONYMOUS_ID, columns.USER_ID)
    devices, owners = (pseudonyms(found.aliases[name].combine_chunks(), key).to_pylist() for name in names)
    moments = found.aliases[columns.OCCURRED_AT].to_pylist()
    calls = sorted(zip(devices, owners, moments, strict=True), key=_in_time)
    last = {device: Update(DEVICE, device, {columns.USER_KEY: owner}, at) for device, owner, at in calls}
    return list(last.values())


def _in_time(said: tuple[str, str, datetime | None]) -> tuple[datetime, str]:
    """Sorts what was said of devices by its time, the undated first; of the same time the greater owner is the last."""
    return _moment(said[2]), said[1]


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(one, other, key=_moment)


def _moment(said_at: datetime | None) -> datetime:
    return said_at or _NEVER
