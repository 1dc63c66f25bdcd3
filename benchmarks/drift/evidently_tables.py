"""Builds the tables of windows that a table monitor sees: events, and features of users.

Item ids are left out, because nearly every window has new ones, which would always be an alarm.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from models.columns import EVENT_TYPES
from models.monitoring.drift.calibration.windows import ages
from models.monitoring.drift.signals.event_columns import (
    BOUGHT,
    CLICKED,
    DAY,
    INTERACTIONS,
    SHOWN,
    Events,
    Ints,
    ItemTable,
)
from models.monitoring.drift.signals.user_behaviour import features
from models.monitoring.drift.signals.user_counts import deciles

ROWS: Final = 20_000
"""Most rows of a table; larger tables are sampled."""
NEW_DAYS: Final = ages(1)[-1]
"""Days for which users and items are new, on both sides of the comparison."""


@dataclass(frozen=True)
class Tables:
    """Makes tables of windows, given the popularity of items in the reference time."""

    item_table: ItemTable
    decile: Ints

    @classmethod
    def against(cls, before: Events, goods: ItemTable) -> "Tables":
        """Compare with the events of the reference time."""
        items = before.item[INTERACTIONS[before.kind]]
        return cls(goods, deciles(np.bincount(items, minlength=len(goods))))

    def events(self, events: Events, random: np.random.Generator) -> pa.Table:
        """Return each event with its attributes; empty if one does not apply."""
        clicked = _clicked(events)  # among all events, before some are drawn
        drawn = _drawn(len(events.at), random)
        some = events.such(drawn)
        bought, shown, new = some.kind == BOUGHT, some.kind == SHOWN, some.at - NEW_DAYS * DAY
        return pa.table(
            {
                "event_type": np.array(EVENT_TYPES)[some.kind],
                "category": self.item_table.category[some.item].astype(str),
                "popularity": self.decile[some.item].astype(str),
                "new_item": _mask(some.item_since >= new),
                "new_user": _mask(some.user_since >= new),
                "hour": (some.at // 3_600 % 24).astype(np.float64),
                "position": np.where(shown & (some.position > 0), some.position, np.nan),
                "value": np.where(bought, some.value, np.nan),
                "quantity": np.where(bought, some.quantity, np.nan),
                "clicked": pa.array(_mask(clicked[drawn]), mask=~shown),
            }
        )

    def users(self, days: list[Events], random: np.random.Generator) -> pa.Table:
        """Return the features of the users of each day."""
        values = [features(day.such(INTERACTIONS[day.kind]), self.item_table)[1] for day in days]
        columns = {name.replace(" ", "_"): np.concatenate([one[name] for one in values]) for name in values[0]}
        drawn = _drawn(len(columns["events"]), random)
        return pa.table({name: values[drawn] for name, values in columns.items()})


def _clicked(events: Events) -> Any:
    """Return [events] whether an impression on a published list was clicked in this window."""
    pair = events.user.astype(np.int64) * (int(events.item.max(initial=0)) + 1) + events.item
    return np.isin(pair, pair[(events.kind == CLICKED) & events.listed])


def _mask(mask: Any) -> Any:
    return np.where(mask, "yes", "no")


def _drawn(rows: int, random: np.random.Generator) -> Any:
    values = np.zeros(rows, dtype=np.bool_)
    values[random.permutation(rows)[:ROWS]] = True
    return values
