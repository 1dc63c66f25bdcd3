"""Builds SQL for the lake's events that count: those of committed batches on merchandise, with their users."""

from dataclasses import dataclass, replace
from typing import ClassVar, Final, Self

from models import columns
from tasks.lake.unconfirmed_orders import EVENTS

_EVENTS: Final = f"""
    {EVENTS}($files) AS event
    ANTI JOIN non_merchandise ON non_merchandise.item_id = event.item_id
    JOIN batches USING (batch_id) LEFT JOIN aliases ON aliases.device = event.user_key"""
# Lakes of the first version wrote the time of ingestion if the source had stated none.
_RECEIVED_AT: Final = (
    "epoch(CASE WHEN event.received_at < batches.started_at THEN event.received_at ELSE event.occurred_at END)::BIGINT"
)


@dataclass(frozen=True)
class EventQuery:
    """A query of the files `$files`, whose columns and conditions name an event `event`.

    `ReferenceData.register` makes the tables that it joins, and `match_refunds` the one of refunded purchases.
    """

    USER: ClassVar[str] = "coalesce(aliases.known, event.user_key)"
    """The key of the event's user, also if the event has the id of one of their devices."""
    RECEIVED_AT: ClassVar[str] = _RECEIVED_AT
    KNOWN_AT: ClassVar[str] = f"greatest(epoch(event.occurred_at)::BIGINT, {_RECEIVED_AT})"
    """When the event became known (epoch s)."""

    joins: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    def join(self, clause: str) -> Self:
        """Add a join clause."""
        return replace(self, joins=(*self.joins, clause))

    def join_users(self, table: str) -> Self:
        """Keep the events of the users in `table`, by its column `user_key`."""
        return self.join(f"JOIN {table} ON {table}.user_key = {self.USER}")

    def join_items(self, table: str) -> Self:
        """Keep the events on the items in `table`, by its column `item_id`."""
        return self.join(f"JOIN {table} ON {table}.item_id = event.item_id")

    def where(self, *conditions: str) -> Self:
        """Keep the events that meet all conditions."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def not_refunded(self, moment: str | None = None) -> Self:
        """Leave out purchases that `refunded` names."""
        return self.where(f"NOT ({refunded(moment)})")

    def select(self, values: str, ending: str = "") -> str:
        """Return the statement; `ending` is what follows its conditions, such as GROUP BY."""
        conditions = f"WHERE {' AND '.join(f'({one})' for one in self.conditions)}" if self.conditions else ""
        return f"SELECT {values} FROM {_EVENTS} {' '.join(self.joins)} {conditions} {ending}"


def of_type(event_type: str) -> str:
    """Return the condition that an event has a type."""
    return f"event.event_type = '{event_type}'"


def refunded(moment: str | None = None) -> str:
    """Return the condition that an event is a purchase that was refunded as a whole.

    It holds by the refunds known before `moment`, SQL for a time in epoch seconds, or by all.
    """
    valid = "state.until IS NULL"
    if moment is not None:
        valid = f"state.since < {moment} AND coalesce(state.until >= {moment}, true)"
    return f"""{of_type(columns.PURCHASE)} AND EXISTS (
        SELECT 1 FROM purchase_states AS state
        WHERE state.event_id = event.event_id AND state.share = 0 AND {valid})"""
