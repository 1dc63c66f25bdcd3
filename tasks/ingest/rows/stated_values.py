"""Makes updates of what a file states of items and users: values that repeat earlier ones are not stored again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from models import columns
from models.ingest.segment.interactions import ITEM_ATTRIBUTES
from models.primitives.arrow_sql import query
from models.primitives.json_types import JsonObject
from tasks.ingest.ledger import NEVER
from tasks.ingest.rows.apply import ITEM, ITEM_HISTORY, TRAITS, USER_HISTORY, Update
from tasks.ingest.rows.statements import WITHIN

_FIELD_TIMES: Final = "said_at"
_OWN: Final = (columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE, columns.CURRENCY, columns.AVAILABLE)
_KEYS: Final = (*_OWN, *(WITHIN + name for name in ITEM_ATTRIBUTES))
_TEXTS: Final = f"""
    SELECT item_id, coalesce(occurred_at, TIMESTAMPTZ '{NEVER.isoformat()}') AS moment,
        CASE WHEN said_at IS NULL THEN to_json(({", ".join(_OWN)}, attributes))::VARCHAR END AS text FROM items"""
TimedValues = dict[str, tuple[datetime, Any]]
"""Values by key, with their times."""


@dataclass(slots=True)
class _CachedItem:
    values: TimedValues
    text: str | None
    """All values as text, if they have the same time; they may have been repeated since."""
    moment: datetime
    repeated: bool = False
    """Whether a value was repeated after it was stored. Other files may have another value in between."""

    def current(self) -> TimedValues:
        """Return the values with their latest times."""
        if not self.text:
            return self.values
        return {
            key: (at if key == columns.AVAILABLE else self.moment, value) for key, (at, value) in self.values.items()
        }


@dataclass
class ItemUpdateCache:
    """The values of each item so far: the latest of each key, and of equally late ones the greatest."""

    _items: dict[str, _CachedItem] = field(default_factory=dict)

    def updates(self, items: pa.Table, now: datetime) -> Iterator[Update]:
        """Yield the updates in a chunk's items (of `ParsedLines.items`, each once); `now` they are merchandise."""
        names = [columns.ITEM_ID, *_OWN, columns.ATTRIBUTES, columns.OCCURRED_AT, _FIELD_TIMES]
        rows = items.select(names)
        texts = query(_TEXTS, items=rows)
        blocks = list(zip(*(texts[name].to_pylist() for name in ("item_id", "text", "moment")), strict=True))
        new = [place for place, block in enumerate(blocks) if not self._repeats(*block)]
        for place, row in zip(new, rows.take(pa.array(new, pa.int64())).to_pylist(), strict=True):
            _, text, moment = blocks[place]
            update = self._merge(row[columns.ITEM_ID], _timed_values(row, moment, now), text, moment)
            if update is not None:
                yield update

    def repeated(self) -> Iterator[Update]:
        """Yield the values that were repeated after they were stored."""
        for item, cached in self._items.items():
            if cached.repeated:
                yield item_update(item, cached.current())

    def _repeats(self, item: str, text: str | None, moment: datetime) -> bool:
        """Return whether the values equal the item's last ones; if so, they have this time, too."""
        cached = self._items.get(item)
        if cached is None or text is None or cached.text != text:
            return False
        if moment > cached.moment:
            cached.moment, cached.repeated = moment, True
        return True

    def _merge(self, item: str, values: TimedValues, text: str | None, moment: datetime) -> Update | None:
        cached = self._items.get(item)
        before = cached.current() if cached else {}
        merged = before | {key: max(before.get(key, value), value) for key, value in values.items()}
        replaced = _CachedItem(merged, text if merged == values else None, moment)
        self._items[item] = replaced
        if cached and all(key in before and before[key][1] == value for key, (_, value) in merged.items()):
            replaced.repeated = cached.repeated or merged != before
            return None
        return item_update(item, merged)


def _timed_values(row: JsonObject, moment: datetime, now: datetime) -> TimedValues:
    """Return the values of a row with their times. The mapping states as of `now` what is merchandise."""
    row |= {WITHIN + name: value for name, value in row[columns.ATTRIBUTES].items()}
    own = (row[_FIELD_TIMES] or dict.fromkeys(_KEYS, moment)) | {columns.AVAILABLE: now}
    times = {key: own.get(key, own.get(key.removeprefix(WITHIN))) or NEVER for key in _KEYS}
    return {key: (times[key], row[key]) for key in _KEYS if row[key] is not None}


def item_update(item: str, values: TimedValues) -> Update:
    """Return the update of an item, by its values with their times."""
    own = {key: value for key, (_, value) in values.items() if not key.startswith(WITHIN)}
    attributes = {key.removeprefix(WITHIN): value for key, (_, value) in values.items() if key.startswith(WITHIN)}
    times = {key: None if at == NEVER else at for key, (at, _) in values.items()}
    return Update(ITEM, item, {**own, columns.ATTRIBUTES: attributes}, None, times)


def trait_updates(user: str, stated: Mapping[str, Sequence[tuple[datetime, str]]]) -> Iterator[Update]:
    """Yield the changes of a user's traits and their latest values; of values at the same time the greatest counts."""
    changes = [
        {"name": name, "since": None if at == NEVER else at.isoformat(), "value": value}
        for name, values in stated.items()
        for at, value in _changes(values)
    ]
    yield Update(USER_HISTORY, user, {"changes": changes}, None)
    latest = {name: max(values) for name, values in stated.items()}
    times = {name: None if at == NEVER else at for name, (at, _) in latest.items()}
    yield Update(TRAITS, user, {name: value for name, (_, value) in latest.items()}, None, times)


def _changes(stated: Sequence[tuple[datetime, str]]) -> list[tuple[datetime, str]]:
    """Return the times at which a value changes."""
    ordered = sorted(dict(sorted(stated)).items())
    return [entry for place, entry in enumerate(ordered) if place == 0 or ordered[place - 1][1] != entry[1]]


@dataclass
class ItemChanges:
    """The latest value of each item and name that a file has stated so far."""

    _known: dict[tuple[str, str], tuple[datetime, object]] = field(default_factory=dict)

    def updates(self, rows: pa.Table) -> Iterator[Update]:
        """Yield the changes in a chunk's rows (of `ParsedLines.item_changes`), one update per item."""
        changes_of: dict[str, list[JsonObject]] = {}
        values = (rows[name].to_pylist() for name in columns.CHANGING)
        moments = rows["known_at"].to_pylist()
        for item, moment, *stated in zip(rows[columns.ITEM_ID].to_pylist(), moments, *values, strict=True):
            for name, value in zip(columns.CHANGING, stated, strict=True):
                if value is not None and self._is_news((item, name), moment or NEVER, value):
                    since = moment.isoformat() if moment else None
                    changes_of.setdefault(item, []).append({"name": name, "since": since, "value": str(value)})
        for item, changes in changes_of.items():
            yield Update(ITEM_HISTORY, item, {"changes": changes}, None)

    def _is_news(self, key: tuple[str, str], moment: datetime, value: object) -> bool:
        """Store a value; returns whether it differs from the latest one or is dated earlier."""
        at, latest = self._known.get(key, (NEVER, None))
        if moment >= at:
            self._known[key] = (moment, value)
        return moment < at or value != latest
