"""What a file states about items, and from when on: most of it was known before, and is not stored again."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa

from models import columns
from models.primitives.known_attributes import CHANGING
from tasks.ingest.entity_updates.apply import ITEM_HISTORY, Update
from tasks.ingest.entity_updates.item_update_cache import NEVER


class ItemChanges:
    """The latest value of each item and name that a file has stated so far."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._known: dict[tuple[str, str], tuple[datetime, Any]] = {}

    def updates(self, rows: pa.Table) -> Iterator[Update]:
        """Yield what is to be stored of a chunk's rows (of `segment_rows.item_changes`), one update per item."""
        found: dict[str, list[dict[str, Any]]] = {}
        values = (rows[name].to_pylist() for name in CHANGING)
        moments = rows["known_at"].to_pylist()
        for item, moment, *stated in zip(rows[columns.ITEM_ID].to_pylist(), moments, *values, strict=True):
            for name, value in zip(CHANGING, stated, strict=True):
                if value is not None and self._is_news((item, name), moment or NEVER, value):
                    since = moment.isoformat() if moment else None
                    found.setdefault(item, []).append({"name": name, "since": since, "value": str(value)})
        for item, changes in found.items():
            yield Update(ITEM_HISTORY, item, {"changes": changes}, None)

    def _is_news(self, key: tuple[str, str], moment: datetime, value: Any) -> bool:
        """Remember a value; returns whether it is another one, or was stated earlier than the latest."""
        at, latest = self._known.get(key, (NEVER, None))
        if moment >= at:
            self._known[key] = (moment, value)
        return moment < at or value != latest
