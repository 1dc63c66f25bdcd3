"""Define the keys of [events] in a mapping file."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from models.columns import EVENT_TYPES
from models.ingest.expressions.value_sources import NumberSource, Source, Sources
from models.ingest.tabular.mapping_keys.table import YES, TableMapping, TimeFormat, Zone, check_required


def _event_type(name: str) -> str:
    if name not in EVENT_TYPES:
        raise ValueError(f"there is no event type {name!r}; use one of {', '.join(EVENT_TYPES)}")
    return name


class EventsMapping(TableMapping):
    """The sources of the columns of an event. `constants` fill columns that the source lacks."""

    texts = (
        *("event_id", "user_id", "device_id", "item_id", "session_id", "occurred_at", "received_at"),
        *("event_type", "currency", "placement", "recommendation_id", "consent", "user_agent", "ip", "refund_order"),
    )
    numbers = ("quantity", "value", "rating", "position")
    mandatory = ("event_id", "user_id", "item_id", "occurred_at")
    moments = ("occurred_at", "received_at")

    event_id: Sources | None = None
    """The id of the event. Without it, the id is built from user, item, type, time and session: rows that are equal in
    these are one event."""
    event_id_prefix: str = ""
    """A prefix for every event id. An id stands for one event across all sources, and two tables may use the same
    numbers."""
    user_id: Sources | None = None
    """The user, by the id of your own systems; several columns are joined by a hyphen. Needed, unless `device_id` is
    given."""
    device_id: Sources | None = None
    """The device or browser: the visitor of rows without a user. Rows with both state whose device it is."""
    item_id: Sources
    """The item, by the id of the catalogue."""
    session_id: Sources | None = None
    """The visit, or the order of a purchase or refund."""
    refund_order: Sources | None = None
    """The order that a refund takes back, by the ids of the orders of purchases. A refund whose order is not stored
    takes back nothing and is counted. Without this key it takes back the user's latest purchase of the item."""
    occurred_at: Source
    """The time of the event."""
    received_at: Source | None = None
    """The time from which the event was known, if that is later: features of an earlier moment do not use it."""
    time_format: TimeFormat = "timestamp"
    """The format of times: timestamp (or text by ISO 8601), epoch_s, epoch_ms, epoch_us, or a format such as %d.%m.%Y
    %H:%M. In a list, the first format that reads a cell counts."""
    zone: Zone = "UTC"
    """The zone of times without one. If the clock showed a time twice, the first is used; a time that it skipped
    becomes the first moment after the gap."""
    event_type: Source | None = None
    """The column with the type of the event; without it, `constants` states the type."""
    event_types: dict[str, Annotated[str, AfterValidator(_event_type)]] = Field({})
    """The source's word → Tailorbird's event type. Other words stay unchanged, and the row rules judge them."""
    quantity: NumberSource | None = None
    """The number of pieces; more than 0."""
    value: NumberSource | None = None
    """Money, or for content its equivalent: seconds of reading or watching."""
    currency: Source | None = None
    """The currency of the value: a code such as EUR, or a usual sign or name."""
    rating: NumberSource | None = None
    """The user's rating of the item, on the scale of the source."""
    placement: Source | None = None
    """The placement of a recommendation that was shown."""
    position: NumberSource | None = None
    """The position in the list that was shown, 0 for the first."""
    recommendation_id: Source | None = None
    """The id of the list that was shown, as Tailorbird assigned it."""
    consent: Source | None = None
    """Whether the user agreed, as stated by the event itself."""
    consent_words: list[str] = Field(list(YES))
    """The words that mean yes in the column `consent`, in any case; empty is unknown, and any other word means no."""
    user_agent: Source | None = None
    """The user agent of the browser: read to find robots, and never stored."""
    ip: Source | None = None
    """The IP address of the client: read to find internal traffic, and never stored."""
    constants: dict[Literal["event_type", "currency"], str] = Field({})
    """The event type or currency of all rows."""
    fill: dict[str, str | int | float] = Field({})
    """Constants for empty values of `quantity`, `value` or `currency`; the number of replaced values is counted."""
    required: list[Literal["quantity", "value", "currency", "rating", "session_id"]] = Field([])
    """Keys that every event needs: rows with an empty value in one of them wait in quarantine."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Return the keys whose columns every file must have: with a device, none of a user."""
        return tuple(key for key in self.mandatory if not (key == "user_id" and self.device_id))

    @model_validator(mode="after")
    def _somebody_acts(self) -> Self:
        if not (self.user_id or self.device_id):
            raise ValueError("user_id is missing; name the column of users, or of devices as device_id")
        return self

    @model_validator(mode="after")
    def _required_keys_are_read(self) -> Self:
        check_required(self, self.required)
        return self

    @model_validator(mode="after")
    def _each_from_one_place(self) -> Self:
        for name in ("event_type", "currency"):
            if getattr(self, name) and name in self.constants:
                raise ValueError(f"{name} is given twice, as a column and in constants; keep one")
        if self.event_id_prefix and not self.event_id:
            raise ValueError("event_id_prefix needs an event_id to stand before; name its column")
        if not self.event_type and "event_type" not in self.constants:
            raise ValueError("event_type is missing; name its column, or write constants = { event_type = ... }")
        if self.event_types and not self.event_type:
            raise ValueError("event_types translates the values of a column; name that column as event_type")
        _event_type(self.constants.get("event_type", EVENT_TYPES[0]))
        return self

    @model_validator(mode="after")
    def _filled_keys_are_read(self) -> Self:
        known = [name for name in ("quantity", "value", "currency") if getattr(self, name)]
        for name, constant in self.fill.items():
            if name not in known:
                keys = ", ".join(known) or "quantity, value and currency, once their columns are named"
                raise ValueError(f"fill names {name!r}, which it cannot fill here; it can fill: {keys}")
            if isinstance(constant, str) != (name == "currency"):
                kind = "a currency code in quotes" if name == "currency" else "a number; write it without quotes"
                raise ValueError(f"fill.{name} has to be {kind}")
        return self
