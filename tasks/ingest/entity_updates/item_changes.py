"""Finds changed values of items in a file: most values repeat earlier ones and are not stored again."""

from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa

from models import columns
from models.primitives.json_types import JsonObject
from tasks.ingest.entity_updates.apply import ITEM_HISTORY, Update
from tasks.ingest.entity_updates.item_update_cache import NEVER


class ItemChanges:
    """The latest value of each item and name that a file has stated so far."""

    def __init__(self) -> None:
        """Start without values."""
        self._known: dict[tuple[str, str], tuple[datetime, object]] = {}

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
