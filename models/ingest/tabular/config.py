"""A mapping says which column of a table becomes which column of ours, so that no data set needs code."""

import codecs
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from models.columns import EVENT_TYPES
from models.ingest.expressions.syntax_tree import Expression
from models.ingest.expressions.value_sources import (
    AttributeSource,
    Condition,
    Marks,
    NumberSource,
    Source,
    Sources,
    attribute_of,
    columns_of,
    direct,
    listed,
)
from models.ingest.source_config import MappingError as MappingError
from models.ingest.source_config import SourceMapping, parsed
from models.ingest.tabular.duplicate_rows import LATEST, Choice
from models.ingest.tabular.numbers import NumberForm
from models.ingest.tabular.timestamps import format_fault, zone_fault


def _event_type(name: str) -> str:
    if name not in EVENT_TYPES:
        raise ValueError(f"there is no event type {name!r}; use one of {', '.join(EVENT_TYPES)}")
    return name


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(f"there is no encoding {name!r}; write such as utf-8, windows-1252 or utf-16") from None


def _zone(name: str) -> str:
    if fault := zone_fault(name):
        raise ValueError(fault)
    return name


def _time_format(stated: str | list[str]) -> str | list[str]:
    names = [stated] if isinstance(stated, str) else stated
    if not names:
        raise ValueError("time_format is an empty list; name at least one format")
    for name in names:
        if fault := format_fault(name):
            raise ValueError(fault)
    return stated


Zone = Annotated[str, AfterValidator(_zone)]
TimeFormat = Annotated[str | list[str], AfterValidator(_time_format)]
_YES = ("true", "t", "yes", "y", "1", "given", "granted")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str | list[str]
    """Below the location: a name, a glob, a folder, or a list of them."""
    encoding: Annotated[str, AfterValidator(_encoding)] | None = None
    """The character encoding of a CSV file, such as utf-8, windows-1252 or utf-16; detected by default."""
    separator: str = Field(",", min_length=1, max_length=1)
    """The character between the values of a CSV file."""
    skip_lines: int = Field(0, ge=0, le=1_000)
    """The number of lines above the column names of a CSV file, such as a title."""
    decimal: Literal[".", ","] = "."
    """The decimal sign in numbers that are text."""
    thousands: Literal["", ",", ".", " ", "'", "_", "\N{RIGHT SINGLE QUOTATION MARK}"] = ""
    """The sign between groups of three digits in numbers that are text; a space may be a no-break one."""
    currency_signs: list[Annotated[str, Field(min_length=1, max_length=12)]] = []
    """Texts that may precede or follow a number, such as € or EUR."""
    optional: list[str] = []
    """Source columns that some files lack; a missing column is read as empty."""
    where: Condition | None = None
    """Reads only rows for which this is true; the others are counted as routed."""

    texts: ClassVar[tuple[str, ...]]
    """The keys that name columns of ids or words, in the order in which they are read."""
    numbers: ClassVar[tuple[str, ...]]
    """The keys that name columns of numbers."""
    demanded: ClassVar[tuple[str, ...]]
    """The keys whose columns every file must have."""
    moments: ClassVar[tuple[str, ...]]
    """The keys that name columns of times."""

    if TYPE_CHECKING:
        time_format: TimeFormat
        # Each part has it, at its own place: batches are named by the order of the keys that a mapping states.

    @property
    def time_formats(self) -> list[str]:
        """How times are written, in the order in which the formats are tried."""
        return [self.time_format] if isinstance(self.time_format, str) else self.time_format

    @property
    def form(self) -> NumberForm:
        """How numbers are written as text."""
        return NumberForm(self.decimal, self.thousands, tuple(self.currency_signs))

    @model_validator(mode="after")
    def _groups_and_decimals_are_told_apart(self) -> Self:
        if self.thousands == self.decimal:
            raise ValueError(f"thousands and decimal are both {self.decimal!r}; a number could mean two things")
        return self

    def sources(self, keys: tuple[str, ...]) -> list[str | Expression]:
        """Return the columns and expressions that these keys name."""
        return [source for key in keys for source in listed(getattr(self, key))]

    def named(self, keys: tuple[str, ...]) -> list[str]:
        """Return the columns of the file that these keys name themselves, each once."""
        return list(dict.fromkeys(direct(self.sources(keys))))

    @property
    def conditions(self) -> list[Expression]:
        """The expressions that decide about rows."""
        return [self.where] if self.where else []

    @property
    def read(self) -> list[str]:
        """The columns of the file that anything in this part reads, each once."""
        return columns_of([*self.sources(self.texts + self.numbers), *self.conditions])

    @property
    def expressions(self) -> list[Expression]:
        """The expressions that stand in place of columns."""
        return [one for one in self.sources(self.texts + self.numbers) if isinstance(one, Expression)]

    @model_validator(mode="after")
    def _optional_columns_are_used_and_not_demanded(self) -> Self:
        for column in self.optional:
            if column in self.named(self.demanded):
                raise ValueError(f"the column {column!r} is needed in every row and cannot be optional")
            if column not in self.read:
                raise ValueError(f"optional names {column!r}, which no other key of this part reads")
        return self


class EventsMapping(_Part):
    """Where the columns of an event come from. `constants` fill what the source does not carry."""

    texts = (
        *("event_id", "user_id", "item_id", "session_id", "occurred_at", "received_at"),
        *("event_type", "currency", "placement", "recommendation_id", "consent", "user_agent", "ip"),
    )
    numbers = ("quantity", "value", "rating", "position")
    demanded = ("event_id", "user_id", "item_id", "occurred_at")
    moments = ("occurred_at", "received_at")

    event_id: Sources | None = None
    """The id of the event. Without it, the id is built from user, item, type, time and session: rows that are equal in
    these are one event."""
    event_id_prefix: str = ""
    """A prefix for every event id. An id stands for one event across all sources, and two tables may use the same
    numbers."""
    user_id: Sources
    """The user, by the id of your own systems; several columns are joined by a hyphen."""
    item_id: Sources
    """The item, by the id of the catalogue."""
    session_id: Sources | None = None
    """The visit, or the order of a purchase or refund."""
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
    event_types: dict[str, Annotated[str, AfterValidator(_event_type)]] = {}
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
    consent_words: list[str] = list(_YES)
    """The words that mean yes in the column `consent`, in any case; empty is unknown, and any other word means no."""
    user_agent: Source | None = None
    """The user agent of the browser: read to find robots, and never stored."""
    ip: Source | None = None
    """The IP address of the client: read to find internal traffic, and never stored."""
    constants: dict[Literal["event_type", "currency"], str] = {}
    """The event type or currency of all rows."""
    fill: dict[str, str | int | float] = {}
    """Constants for empty values of `quantity`, `value` or `currency`; the number of replaced values is counted."""
    required: list[Literal["quantity", "value", "currency", "rating", "session_id"]] = []
    """Keys that every event needs: rows with an empty value in one of them wait in quarantine."""

    @model_validator(mode="after")
    def _require_what_is_read(self) -> Self:
        _required(self, self.required)
        return self

    @model_validator(mode="after")
    def _each_from_one_place(self) -> Self:
        for name in ("event_type", "currency"):
            if getattr(self, name) and name in self.constants:
                raise ValueError(f"{name} is given twice, as a column and in constants; keep one")
        if self.event_id_prefix and not self.event_id:
            raise ValueError("event_id_prefix needs an event_id to stand before; name its column")
        if not self.event_type and "event_type" not in self.constants:
            raise ValueError("event_type is missing; name its column, or say constants = { event_type = ... }")
        if self.event_types and not self.event_type:
            raise ValueError("event_types translates the values of a column; name that column as event_type")
        _event_type(self.constants.get("event_type", EVENT_TYPES[0]))
        return self

    @model_validator(mode="after")
    def _fill_what_is_read(self) -> Self:
        known = [name for name in ("quantity", "value", "currency") if getattr(self, name)]
        for name, constant in self.fill.items():
            if name not in known:
                found = ", ".join(known) or "quantity, value and currency, once their columns are named"
                raise ValueError(f"fill names {name!r}, which is none of what it can fill here: {found}")
            if isinstance(constant, str) != (name == "currency"):
                kind = "a currency code in quotes" if name == "currency" else "a number; write it without quotes"
                raise ValueError(f"fill.{name} has to be {kind}")
        return self


def _required(part: Any, names: Sequence[str]) -> None:
    for name in names:
        if getattr(part, name) is None or getattr(part, name) == []:
            raise ValueError(f"required names {name!r}, which no column is read for; name its column")
        if name in part.fill:
            raise ValueError(f"{name} is filled and required; keep one: a constant, or quarantine")


class _Filled(_Part):
    fill: dict[str, str | int | float] = {}
    """Constants for null values. `<name>_imputed` among the attributes marks each replaced value."""

    @model_validator(mode="after")
    def _fill_what_is_read(self) -> Self:
        own = [key for key in ("category", "brand", "price") if getattr(self, key, None) is not None]
        for name, constant in self.fill.items():
            if name not in (known := [*own, *map(attribute_of, listed(getattr(self, "attributes", None)))]):
                raise ValueError(f"fill names {name!r}, which is none of what it can fill here: {', '.join(known)}")
            if name == "price" and isinstance(constant, str):
                raise ValueError("fill.price has to be a number; write it without quotes")
        return self


def _is_expression(value: Any) -> bool:
    return isinstance(value, dict) and "expr" in value


class ItemsMapping(_Filled):
    """Where the catalogue comes from. `category` lists its levels, most general first; an item may have none."""

    texts = (
        *("item_id", "title", "category", "brand", "attributes", "updated_at"),
        *("currency", "url", "image", "available", "available_from", "available_until"),
    )
    numbers = ("price",)
    demanded = ("item_id",)
    moments = ("updated_at", "available_from", "available_until")

    item_id: Source
    """The id of the item."""
    title: Sources
    """The title; several columns are joined. The id replaces a missing title."""
    sentence_case: bool = False
    """Whether to write titles in sentence case: ICE CREAM becomes Ice cream."""
    category: list[Source] = []
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
    constants: dict[Literal["currency"], str] = {}
    """The currency of all prices, if no column states it."""
    url: Source | None = None
    """The address of the item's page; shown beside recommendations."""
    image: Source | None = None
    """The address of a picture of the item; shown beside recommendations."""
    available: Source | None = None
    """Whether the item is in stock: true or false, a number of pieces, or words such as `in stock` and `sold out`.
    Items out of stock are not recommended. Empty means unknown, which counts as in stock. Other words also count as
    in stock, and are reported."""
    available_words: dict[str, bool] = {}
    """Further words for the column `available`, such as lieferbar = true and ausverkauft = false."""
    available_from: Source | None = None
    """The release: the item is not recommended before."""
    available_until: Source | None = None
    """The end of sale: the item is not recommended afterwards. A date without a time of day includes its day."""
    required: list[Literal["category", "brand", "price", "currency", "url", "image"]] = []
    """Keys that every item needs: rows with an empty value in one of them wait in quarantine."""
    attributes: list[AttributeSource] = []
    """Further columns to keep as text."""
    choose: dict[str, Choice] | Choice = {}
    """Which value counts if a file has several rows of one item: for all columns, or by title, category, brand, price
    or attribute. The default is the last row."""
    updated_at: Source | None = None
    """The time at which a row of the catalogue was written: `latest` uses it, and the row's values are known from then
    on."""
    time_format: TimeFormat = "timestamp"
    """The format of `updated_at` and other times, as for events."""
    zone: Zone = "UTC"
    """The zone of times without one, as for events."""
    not_merchandise: Marks = []
    """Items that are never recommended, such as fuel, coupons and postage: beginnings of category paths, or expressions
    over the columns of a row. A single expression needs no list."""

    @property
    def conditions(self) -> list[Expression]:
        """The expressions that decide about rows."""
        return [*super().conditions, *self.marks]

    @property
    def choices(self) -> dict[str, Choice]:
        """Which value counts, by column or attribute."""
        if isinstance(self.choose, dict):
            return self.choose
        names = [name for name in self._choosable if not (name == "price" and self.choose == "longest")]
        return dict.fromkeys(names, self.choose)

    @property
    def _choosable(self) -> list[str]:
        own = [key for key in ("title", "category", "brand", "price") if getattr(self, key)]
        return [*own, *map(attribute_of, self.attributes)]

    @model_validator(mode="before")
    @classmethod
    def _one_category_needs_no_list(cls, content: Any) -> Any:
        one = content.get("category") if isinstance(content, dict) else None
        return {**content, "category": [one]} if isinstance(one, str) or _is_expression(one) else content

    @model_validator(mode="after")
    def _offers_are_stated_once(self) -> Self:
        if self.currency and "currency" in self.constants:
            raise ValueError("currency is given twice, as a column and in constants; keep one")
        if self.available_words and not self.available:
            raise ValueError("available_words are words of a column; name that column as available")
        if self.category_separator and len(self.category) != 1:
            raise ValueError("category_separator splits one column; name that column alone as category")
        _required(self, self.required)
        return self

    @model_validator(mode="after")
    def _choose_among_what_is_read(self) -> Self:
        for name, choice in self.choices.items():
            if name not in self._choosable:
                raise ValueError(f"choose names {name!r}, which is none of: {', '.join(self._choosable)}")
            if choice == "longest" and name == "price":
                raise ValueError("choose.price is a number; write most_frequent, latest or last")
        if LATEST in self.choices.values() and not self.updated_at:
            raise ValueError("choose = latest needs a time; name its column as updated_at")
        return self

    @property
    def marks(self) -> list[Expression]:
        """The expressions that say what is not merchandise."""
        return [one for one in self.not_merchandise if isinstance(one, Expression)]


class UsersMapping(_Filled):
    """Which traits of a user are kept; all others never enter."""

    texts = ("user_id", "attributes", "consent", "consent_at")
    numbers = ()
    demanded = ("user_id",)
    moments = ("consent_at",)

    user_id: Source
    """The user, by the id of your own systems."""
    attributes: list[AttributeSource]
    """The traits to keep. No other column is stored. Do not name personal data here."""
    consent: Source | None = None
    """Whether the user agreed."""
    consent_words: list[str] = list(_YES)
    """The words that mean yes in the column `consent`, in any case; empty is unknown, and any other word means no."""
    consent_at: Source | None = None
    """The time of the answer: an older answer does not replace a newer one."""
    time_format: TimeFormat = "timestamp"
    """The format of `consent_at`, as for events."""
    zone: Zone = "UTC"
    """The zone of times without one, as for events."""

    @model_validator(mode="after")
    def _a_time_belongs_to_an_answer(self) -> Self:
        if self.consent_at and not self.consent:
            raise ValueError("consent_at says when the answer was given; name the column of the answer, consent")
        return self


class Mapping(SourceMapping):
    """The whole of a mapping file for tables."""

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
        """Without a catalogue of its own a source may speak of items that nobody has named."""
        return self.unknown_items == "accept" or (self.unknown_items is None and self.items is None)


def parse(content: dict[str, Any], name: str, label: Callable[[str], str] = str) -> Mapping:
    """The mapping of tables in `content`; what is missing or misspelt is named."""
    return parsed(Mapping, content, name, label)
