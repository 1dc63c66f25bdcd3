"""Define a mapping file for tables: it maps the columns of a source, so no data set needs code."""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from models import columns
from models.columns import EVENT_TYPES, known_event_type
from models.ingest.source_config import MappingError as MappingError
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.duplicate_rows import DATED, Choice
from models.ingest.tabular.mapping_keys import (
    USUAL_YES,
    AttributeSource,
    Expression,
    FilledMapping,
    Marks,
    NumberSource,
    Source,
    Sources,
    TableMapping,
    attribute_of,
)
from models.ingest.tabular.values import known_formats, known_zone

Zone = Annotated[str, AfterValidator(known_zone)]
TimeFormat = Annotated[str | list[str], AfterValidator(known_formats)]


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
    event_types: dict[str, Annotated[str, AfterValidator(known_event_type)]] = Field({})
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
    consent_words: list[str] = Field(list(USUAL_YES))
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

    @property
    def fillable(self) -> list[str]:
        """Return the keys whose null values `fill` can replace."""
        return [name for name in ("quantity", "value", "currency") if getattr(self, name)]

    def faults(self) -> Iterator[str]:
        """Yield the faults of keys that do not fit each other."""
        yield from super().faults()
        if not (self.user_id or self.device_id):
            yield "user_id is missing; name the column of users, or of devices as device_id"
        if self.event_id_prefix and not self.event_id:
            yield "event_id_prefix needs an event_id to stand before; name its column"
        if not self.event_type and "event_type" not in self.constants:
            yield "event_type is missing; name its column, or write constants = { event_type = ... }"
        if self.event_types and not self.event_type:
            yield "event_types translates the values of a column; name that column as event_type"
        known_event_type(self.constants.get("event_type", EVENT_TYPES[0]))


_TEXT, _NUMBER, _CONDITION, _ATTRIBUTE = "a text", "a number", "a condition", "an attribute"
_KINDS: Final = {
    "title": _TEXT,
    "category": _TEXT,
    "brand": _TEXT,
    "price": _NUMBER,
    "currency": _TEXT,
    "url": _TEXT,
    "image": _TEXT,
    "available": _CONDITION,
}
"""The kinds of the columns of an item that `choose` may name; all others are attributes."""
_FITTING: Final[dict[Choice, tuple[str, ...]]] = {
    "longest": (_TEXT, _ATTRIBUTE),
    "lowest": (_NUMBER, _ATTRIBUTE),
    "sum": (_NUMBER, _ATTRIBUTE),
    "any": (_CONDITION,),
    "all": (_ATTRIBUTE,),
}
"""The kinds of columns that a choice is for; the other choices are for all."""


def _unfit(name: str, choice: Choice) -> str:
    """Return why a column cannot have a choice, or an empty text."""
    kind = _KINDS.get(name, _ATTRIBUTE)
    fitting = _FITTING.get(choice, (kind,))
    return "" if kind in fitting else f"it is {kind}, and that choice needs {fitting[0]}"


class ItemsMapping(FilledMapping):
    """The sources of the catalogue. `category` lists its levels, most general first; an item may have none."""

    texts = (
        *("item_id", "title", "category", "brand", "attributes", "updated_at"),
        *("currency", "url", "image", "available", "available_from", "available_until", "variant_ids"),
    )
    numbers = ("price",)
    mandatory = ("item_id",)
    moments = ("updated_at", "available_from", "available_until")

    item_id: Source
    """The id of the item."""
    title: Sources
    """The title; several columns are joined. The id replaces a missing title."""
    sentence_case: bool = False
    """Whether to write titles in sentence case: ICE CREAM becomes Ice cream."""
    category: list[Source] = Field([])
    """The levels of the category, most general first; or one column with the whole path."""
    category_separator: str | None = Field(None, min_length=1, max_length=5)
    """The separator of the levels in a column with a path, such as > or /."""
    category_alternatives: str | None = Field(None, min_length=1)
    """The separator of several categories of one level; the first of them counts."""
    brand: Source | None = None
    """The brand, maker or author."""
    price: NumberSource | None = None
    """The price of one piece."""
    currency: Source | None = None
    """The currency of the price."""
    constants: dict[Literal["currency"], str] = Field({})
    """The currency of all prices, if no column states it."""
    url: Source | None = None
    """The address of the item's page; shown beside recommendations."""
    image: Source | None = None
    """The address of a picture of the item; shown beside recommendations."""
    available: Source | None = None
    """Whether the item is in stock: true or false, a number of pieces, or words such as `in stock` and `sold out`.
    Items out of stock are not recommended. Empty means unknown, which counts as in stock. Other words also count as
    in stock, and are reported."""
    available_words: dict[str, bool] = Field({})
    """Further words for the column `available`, such as lieferbar = true and ausverkauft = false."""
    available_from: Source | None = None
    """The release: the item is not recommended before."""
    available_until: Source | None = None
    """The end of sale: the item is not recommended afterwards. A date without a time of day includes its day."""
    required: list[Literal["category", "brand", "price", "currency", "url", "image"]] = Field([])
    """Keys that every item needs: rows with an empty value in one of them wait in quarantine."""
    attributes: list[AttributeSource] = Field([])
    """Further columns to keep as text."""
    variant_ids: list[Source] = Field([])
    """Columns with ids of the item's variants, such as sizes: an event on one of them counts for the item, and keeps
    the variant. Ids of all rows of the item count; an id of two items counts for neither."""
    choose: dict[str, Choice] | Choice = Field({})
    """Which value counts if a file has several rows of one item: for all columns, or by title, category, brand, price,
    currency, url, image, available or an attribute's name. The default is the last row; `first` is the first row with a
    value, `recent` the most frequent value of the item's last four weeks, and `any` is in stock if any row is."""
    updated_at: Source | None = None
    """The time at which a row of the catalogue was written: `latest` and `recent` use it, and the row's values are
    known from then on."""
    time_format: TimeFormat = "timestamp"
    """The format of `updated_at` and other times, as for events."""
    zone: Zone = "UTC"
    """The zone of times without one, as for events."""
    not_merchandise: Marks = Field([])
    """Items that are never recommended, such as fuel, coupons and postage: beginnings of category paths, or expressions
    over the columns of a row. A single expression needs no list."""

    @property
    def conditions(self) -> list[Expression]:
        """Return the expressions that select or mark rows."""
        return [*super().conditions, *self.marks]

    @property
    def choices(self) -> dict[str, Choice]:
        """Return the choice of the value that counts, by canonical column or attribute."""
        stated = {columns.IN_STOCK if name == "available" else name: one for name, one in self._chosen.items()}
        return stated | ({columns.VARIANT_IDS: "all"} if self.variant_ids else {})

    @property
    def _chosen(self) -> dict[str, Choice]:
        """Return the choices by key or attribute, as the mapping states them."""
        if isinstance(self.choose, dict):
            return self.choose
        return {name: self.choose for name in self._choosable if not _unfit(name, self.choose)}

    @property
    def _choosable(self) -> list[str]:
        return [*(name for name in _KINDS if getattr(self, name)), *map(attribute_of, self.attributes)]

    @model_validator(mode="before")
    @classmethod
    def _one_category_needs_no_list(cls, content: Any) -> Any:
        one = content.get("category") if isinstance(content, dict) else None
        alone = isinstance(one, str) or (isinstance(one, dict) and "expr" in one)
        return {**content, "category": [one]} if alone else content

    def faults(self) -> Iterator[str]:
        """Yield the faults of keys that do not fit each other."""
        yield from super().faults()
        if self.available_words and not self.available:
            yield "available_words are words of a column; name that column as available"
        if self.category_separator and len(self.category) != 1:
            yield "category_separator splits one column; name that column alone as category"
        for name, choice in self._chosen.items():
            if name not in self._choosable:
                yield f"choose names {name!r}, which is not one of: {', '.join(self._choosable)}"
            if unfit := _unfit(name, choice):
                yield f"choose.{name} cannot be {choice}: {unfit}"
            if choice in DATED and not self.updated_at:
                yield f"choose = {choice} needs a time; name its column as updated_at"

    @property
    def dated(self) -> list[str]:
        """Return the columns whose values count from the time of their row.

        A value chosen from all rows, the most frequent or the longest, has no time.
        """
        undated = {name for name, choice in self._chosen.items() if choice not in ("last", *DATED)}
        return [name for name in columns.CHANGING if self.updated_at and getattr(self, name) and name not in undated]

    @property
    def marks(self) -> list[Expression]:
        """Return the expressions that mark items that are not merchandise."""
        return [one for one in self.not_merchandise if isinstance(one, Expression)]


class UsersMapping(FilledMapping):
    """The traits of a user that are stored; all others are never ingested."""

    texts = ("user_id", "attributes", "consent", "consent_at")
    numbers = ()
    mandatory = ("user_id",)
    moments = ("consent_at",)

    user_id: Source
    """The user, by the id of your own systems."""
    attributes: list[AttributeSource]
    """The traits to keep. No other column is stored. Do not name personal data here."""
    consent: Source | None = None
    """Whether the user agreed."""
    consent_words: list[str] = Field(list(USUAL_YES))
    """The words that mean yes in the column `consent`, in any case; empty is unknown, and any other word means no."""
    consent_at: Source | None = None
    """The time of the answer: an older answer does not replace a newer one."""
    time_format: TimeFormat = "timestamp"
    """The format of `consent_at`, as for events."""
    zone: Zone = "UTC"
    """The zone of times without one, as for events."""

    def faults(self) -> Iterator[str]:
        """Yield the faults of keys that do not fit each other."""
        yield from super().faults()
        if self.consent_at and not self.consent:
            yield "consent_at is the time of the answer; name the column of the answer, consent"


class Mapping(SourceMapping):
    """A mapping file for tables."""

    location: str | None = None
    """The location of the files, used if the command names none."""
    events: EventsMapping | None = None
    """The events."""
    items: ItemsMapping | None = None
    """The catalogue."""
    users: UsersMapping | None = None
    """The traits and consent of users."""

    @model_validator(mode="after")
    def _something_is_read(self) -> Self:
        if not (self.events or self.items or self.users):
            raise ValueError("it reads nothing; add a table [events], [items] or [users]")
        return self

    @property
    def accepts_unknown_items(self) -> bool:
        """Return whether unknown items are accepted: by default in a source without a catalogue of its own."""
        return self.unknown_items == "accept" or (self.unknown_items is None and self.items is None)
