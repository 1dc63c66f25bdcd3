"""What a file says of items: most product blocks repeat what others said, and need not be stored again."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from models import columns
from models.ingest.segment.interactions import ITEM_ATTRIBUTES
from models.primitives.arrow_sql import query
from tasks.ingest.entity_updates.apply import ITEM, Update
from tasks.ingest.entity_updates.last_write_wins import WITHIN

SAID_AT: Final = "said_at"
NEVER: Final = datetime.min.replace(tzinfo=UTC)
_OWN: Final = (columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE, columns.CURRENCY)
_KEYS: Final = (*_OWN, *(WITHIN + name for name in ITEM_ATTRIBUTES))
_TEXTS: Final = f"""
    SELECT item_id, coalesce(occurred_at, TIMESTAMPTZ '{NEVER.isoformat()}') AS moment,
        CASE WHEN said_at IS NULL THEN to_json(({", ".join(_OWN)}, attributes))::VARCHAR END AS text FROM items"""
Said = dict[str, tuple[datetime, Any]]
"""By key when it was said, and what."""


@dataclass(slots=True)
class _Known:
    said: Said
    text: str | None
    """All of it, when it was said at one moment; it may have been said again since."""
    moment: datetime
    repeated: bool = False
    """Was any of it said again after it was stored? Other files may have said something else in between."""

    def now(self) -> Said:
        """With the latest times."""
        return {key: (self.moment, value) for key, (_, value) in self.said.items()} if self.text else self.said


class Catalogue:
    """What was said of each item so far: of each key the latest, of equally late ones the greatest, as in `later`."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._known: dict[str, _Known] = {}

    def updates(self, items: pa.Table) -> Iterator[Update]:
        """What is to be stored of a chunk's items (of `segment_rows.items`, each once)."""
        names = [columns.ITEM_ID, *_OWN, columns.ATTRIBUTES, columns.OCCURRED_AT, SAID_AT]
        texts = query(_TEXTS, items=items.select(names))
        told = [texts[name].to_pylist() for name in ("item_id", "text", "moment")]
        news = [row for row, said in enumerate(zip(*told, strict=True)) if not self._repeats(*said)]
        for place, row in zip(news, items.select(names).take(pa.array(news, pa.int64())).to_pylist(), strict=True):
            update = self._learn(row, told[1][place], told[2][place])
            if update is not None:
                yield update

    def repeated(self) -> Iterator[Update]:
        """What was said once more after it was stored."""
        for item, known in self._known.items():
            if known.repeated:
                yield _update(item, known.now())

    def _repeats(self, item: str, text: str | None, moment: datetime) -> bool:
        """Is it what was said last? Then it was said at this moment too."""
        known = self._known.get(item)
        if known is None or text is None or known.text != text:
            return False
        if moment > known.moment:
            known.moment, known.repeated = moment, True
        return True

    def _learn(self, row: dict[str, Any], text: str | None, moment: datetime) -> Update | None:
        item, said = row[columns.ITEM_ID], _said(row, moment)
        known = self._known.get(item)
        before = known.now() if known else {}
        merged = before | {key: max(before.get(key, at), at) for key, at in said.items()}
        learned = _Known(merged, text if merged == said else None, moment)
        self._known[item] = learned
        if known and all(key in before and before[key][1] == value for key, (_, value) in merged.items()):
            learned.repeated = known.repeated or merged != before
            return None
        return _update(item, merged)


def _said(row: dict[str, Any], moment: datetime) -> Said:
    """What a row says, and when it said each of it."""
    row |= {WITHIN + name: value for name, value in row[columns.ATTRIBUTES].items()}
    apart = row[SAID_AT] or {}
    times = {key: apart.get(key.removeprefix(WITHIN)) or NEVER if apart else moment for key in _KEYS}
    return {key: (times[key], row[key]) for key in _KEYS if row[key] is not None}


def _update(item: str, said: Said) -> Update:
    own = {key: value for key, (_, value) in said.items() if not key.startswith(WITHIN)}
    attributes = {key.removeprefix(WITHIN): value for key, (_, value) in said.items() if key.startswith(WITHIN)}
    times = {key: None if at == NEVER else at for key, (at, _) in said.items()}
    return Update(ITEM, item, {**own, columns.ATTRIBUTES: attributes}, None, times)
