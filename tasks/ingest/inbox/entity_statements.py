"""Derives updates of items and users from messages of a batch; unusable messages are faults for quarantine."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from models import columns
from models.ingest import placeholder_ids
from models.ingest.source_config import LONGEST_ID
from models.primitives.json_types import JsonObject
from tasks.ingest.inbox.rows import InboxRow
from tasks.ingest.rows.apply import CONSENT, ITEM_HISTORY, Update
from tasks.ingest.rows.last_write_wins import WITHIN
from tasks.ingest.rows.stated_values import TimedValues, item_update, trait_updates
from tasks.ingest.rows.statements import PERSON

HIDDEN: Final = "hidden"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_price(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


_CHECKS: Final[Mapping[str, Callable[[Any], bool]]] = {
    **dict.fromkeys((columns.TITLE, columns.CATEGORY, columns.BRAND, columns.CURRENCY), _is_text),
    **dict.fromkeys((columns.URL, columns.IMAGE), _is_text),
    columns.PRICE: _is_price,
    **dict.fromkeys((columns.IN_STOCK, HIDDEN), _is_flag),
}


@dataclass
class EntityStatements:
    """What the messages of a batch state of items and users: of two values of one key the later counts."""

    items: dict[str, TimedValues] = field(default_factory=dict)
    traits: dict[str, dict[str, list[tuple[datetime, str]]]] = field(default_factory=dict)
    answers: dict[str, list[tuple[datetime, bool]]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    """The source of each answer about consent."""

    def add_item(self, row: InboxRow) -> str | None:
        """Add a statement about an item; returns its fault, or None."""
        payload = row.payload
        item = payload.get(columns.ITEM_ID)
        if not isinstance(item, str) or not item or len(item) > LONGEST_ID or item in placeholder_ids.ITEMS:
            return "the item has no usable id"
        attributes = payload.get(columns.ATTRIBUTES) or {}
        if fault := _fault_of(payload, attributes):
            return fault
        stated = {name: payload[name] for name in _CHECKS if payload.get(name) is not None and name != HIDDEN}
        stated |= {WITHIN + name: value for name, value in attributes.items()}
        if payload.get(HIDDEN) is not None:
            # A hidden item is one whose sale has ended.
            stated[columns.AVAILABLE_UNTIL] = row.received_at.isoformat() if payload[HIDDEN] else None
        own = self.items.setdefault(item, {})
        own.update({name: (row.received_at, value) for name, value in stated.items() if _is_later(own, name, row)})
        return None

    def add_user(self, row: InboxRow, allowed: Sequence[str]) -> str | None:
        """Add a statement about a user; returns its fault, or None."""
        if not row.user_key:
            return "the user has no id"
        traits = row.payload.get("traits") or {}
        if not isinstance(traits, dict) or not all(map(_is_text, traits.values())):
            return "a trait is no text"
        if row.consent is not None:
            self.answers.setdefault(row.user_key, []).append((row.received_at, row.consent))
            self.origins[row.user_key] = row.source
        if row.consent is not False:
            own = self.traits.setdefault(row.user_key, {})
            for name in allowed:
                if name in traits:
                    own.setdefault(name, []).append((row.received_at, traits[name]))
        return None

    def updates(self) -> Iterator[Update]:
        """Yield all updates, each kind and key once."""
        for item, values in sorted(self.items.items()):
            yield item_update(item, values)
            changes = [
                {"name": name, "since": values[name][0].isoformat(), "value": str(values[name][1])}
                for name in columns.CHANGING
                if name in values
            ]
            if changes:
                yield Update(ITEM_HISTORY, item, {"changes": changes}, None)
        for user, answers in sorted(self.answers.items()):
            at, agrees = max(answers, key=lambda answer: (answer[0], not answer[1]))
            refusals = [moment for moment, agreed in answers if not agreed]
            refused_at = max(refusals).isoformat() if refusals else None
            origin = {"source": self.origins[user], "refused_at": refused_at}
            yield Update(CONSENT, user, {columns.CONSENT: agrees, **origin}, at)
            if agrees:
                yield Update(PERSON, user, {}, None)
        for user, traits in sorted(self.traits.items()):
            if traits:
                yield from trait_updates(user, traits)


def _fault_of(payload: JsonObject, attributes: Any) -> str | None:
    wrong = [name for name, check in _CHECKS.items() if payload.get(name) is not None and not check(payload[name])]
    if not isinstance(attributes, dict) or not all(map(_is_text, attributes.values())):
        wrong.append(columns.ATTRIBUTES)
    return f"unusable values: {', '.join(wrong)}" if wrong else None


def _is_later(own: TimedValues, name: str, row: InboxRow) -> bool:
    return name not in own or own[name][0] <= row.received_at
