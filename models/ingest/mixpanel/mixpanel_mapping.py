"""Define the mapping of a Mixpanel project: its raw export and its profiles."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal
from zoneinfo import available_timezones

import pyarrow as pa
from pydantic import AfterValidator, Field

from models.ingest import placeholder_ids
from models.ingest.canonical_schema import ParsedLines
from models.ingest.mixpanel import parse as mixpanel_lines
from models.ingest.mixpanel.parse import MEMBERS, PLACEHOLDERS, Reading
from models.ingest.segment.event_types import Meaning, event_name
from models.ingest.segment.line_mapping import LineMapping
from models.ingest.source_config import parsed
from models.primitives.json_types import JsonObject

Region = Literal["us", "eu", "in"]
_NAMES: Final = {
    Meaning("purchase", "purchase", many=True): "Purchase, Purchased, Purchase Completed, Completed Purchase, "
    "Checkout Completed, Order Placed, Product Purchased, Purchased Product, Item Purchased, Purchased Item, Charge",
    Meaning("refund", "refund", many=True): "Refund, Refunded, Purchase Refunded, Order Returned",
    Meaning("view", "view"): "Product View, View Product, Item Viewed, View Item, Item View, Viewed Item, "
    "Product Page Viewed, Product Detail Viewed, Product Detail View, Item Detail Viewed",
    Meaning("click", "click"): "Item Clicked, Select Item, Product Selected, Product Click",
    Meaning("add_to_cart", "add_to_cart"): "Add to Cart, Added to Cart, Product Added to Cart, Item Added to Cart, "
    "Added Item to Cart, Add to Basket, Added to Basket, Item Added, Cart Item Added",
    Meaning("remove_from_cart", "remove_from_cart"): "Remove from Cart, Removed from Cart, Product Removed from Cart, "
    "Item Removed from Cart, Remove from Basket, Removed from Basket, Item Removed, Cart Item Removed",
    Meaning("wishlist", "wishlist"): "Add to Wishlist, Added to Wishlist, Item Added to Wishlist, Wishlist Item Added",
    Meaning("list", "impression", many=True): "View Item List, Items Viewed, Product Impressions",
    Meaning("checkout", many=True): "Checkout, Begin Checkout, Checkout Begun",
    Meaning("search", products=False): "Search, Searched, Search Performed",
}


def _known_members(properties: dict[str, str]) -> dict[str, str]:
    unknown = sorted({member for member in properties.values() if member not in MEMBERS})
    if unknown:
        raise ValueError(f"no member is called {', '.join(unknown)}; use one of: {', '.join(MEMBERS)}")
    return properties


def _known_zone(zone: str) -> str:
    if zone not in available_timezones():
        raise ValueError(f"there is no time zone {zone!r}; write one such as UTC or Europe/Berlin")
    return zone


class MixpanelMapping(LineMapping):
    """A mapping file of kind `mixpanel`."""

    usual = MappingProxyType({event_name(name): one for one, names in _NAMES.items() for name in names.split(", ")})
    """Names that Mixpanel projects use besides those of Segment's specification."""
    known_placeholders: ClassVar[tuple[str, ...]] = (*placeholder_ids.PEOPLE, *PLACEHOLDERS)

    kind: Literal["mixpanel"]
    """States that the files contain Mixpanel's events and profiles."""
    project: Annotated[int, Field(gt=0)] | None = None
    """The id of the project whose API is read if no files are given."""
    region: Region = "us"
    """Where Mixpanel stores the project: us, eu or in."""
    late_days: Annotated[int, Field(ge=0, le=400)] = 5
    """For so many days after its end a day is read again, because events arrive late."""
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    """The zone of `time` and of days: that of the project if it was created before 2023, otherwise UTC."""
    unknown_items: Literal["quarantine", "accept"] | None = "accept"
    """What to do with events on items that neither a catalogue nor a product contains."""
    consent_properties: list[str] = Field(["consent"])
    """The properties of events and profiles that state consent, true or false; each that is there has to be true."""
    traits: list[str] = Field([])
    """The properties of profiles to keep; never e-mail, name, phone or address."""
    profiles: bool = True
    """Whether the API's profiles are read, if `traits` names any."""
    events: dict[str, str] = Field({})
    """Names of your own events → event types."""
    properties: Annotated[dict[str, str], AfterValidator(_known_members)] = Field({})
    """Names of your own properties → members of a product or an order, such as product_id, price or products."""

    def parse_lines(self, lines: pa.Table) -> ParsedLines:
        """Return the canonical rows of events and profiles."""
        reading = Reading(self.meanings(), self.consent_properties, self.properties, self.time_zone)
        return mixpanel_lines.parse_lines(lines, reading, traits=self.traits, spelling=self.spelling)

    def event_name_of(self, line: JsonObject) -> object:
        """Return the name of an event, unless it is Mixpanel's own."""
        name = line.get("event")
        return None if isinstance(name, str) and name.startswith("$") else name

    def of_one_day(self) -> "MixpanelMapping":
        """Return the mapping without the keys that only choose what the API delivers."""
        chosen = ("project", "region", "late_days", "profiles", "start", "end")
        return self.model_copy(update={name: type(self).model_fields[name].default for name in chosen})


def parse(content: JsonObject, name: str, label: Callable[[str], str] = str) -> MixpanelMapping:
    """Return the mapping of a Mixpanel project in `content`. Raises MappingError with all faulty keys."""
    return parsed(MixpanelMapping, content, name, label)
