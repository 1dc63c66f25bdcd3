"""Models of requests about items."""

import unicodedata
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from models.columns import CATEGORY_SEPARATOR
from serving.api.requests.bodies import Amount, Body, Flag, LongText, ShortText
from serving.api.requests.ids import Id
from serving.api.requests.parameters import MOST_ITEMS, PLACEMENT_PATTERN
from serving.events.messages import ItemChange

MOST_CHANGES = 500


def _web(text: str) -> str:
    if urlsplit(text).scheme not in ("http", "https") and not (text.startswith("/") and text[1:2] != "/"):
        raise ValueError("it is neither an address with http or https nor a path")
    return text


def _shown(text: str) -> str:
    """Refuse a text that shows nothing: spaces, marks without width, or a path without words."""
    if not any(unicodedata.category(letter)[0] not in "ZC" for letter in text.replace(CATEGORY_SEPARATOR, "")):
        raise ValueError("it shows nothing; write a text with letters")
    return text


Shown = Annotated[LongText, AfterValidator(_shown)]
WebAddress = Annotated[LongText, AfterValidator(_web)]


class CatalogueItem(BaseModel):
    """One item of the catalogue."""

    item_id: str = Field(description="The item, by the id that your systems use.")
    title: str | None
    url: str | None
    image: str | None
    price: float | None
    currency: str | None
    category: str | None = Field(description="The path, such as `GROCERY|TEA|GREEN`.")
    brand: str | None
    available: bool = Field(description="Whether it can be bought now.")


class CatalogueItems(BaseModel):
    """A page of items."""

    next: str | None = Field(description="The next page; null on the last one.")
    items: list[CatalogueItem]


class ItemBatch(Body):
    """Items whose lists are wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": ["995242", "1082185"], "k": 5}]})

    items: Annotated[tuple[Id, ...], Field(min_length=1, max_length=100)]
    placement: Annotated[str, Field(pattern=PLACEMENT_PATTERN)] | None = None
    k: Annotated[int, Field(strict=True, ge=1, le=MOST_ITEMS)] | None = None


class ItemUpdate(Body):
    """New values of an item. Fields that are missing stay as they are."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"price": 2.5, "currency": "USD", "in_stock": True, "hidden": False}]}
    )

    message_id: Id | None = Field(default=None, description="Your id of this message, so that a repetition is one.")
    title: Shown | None = None
    category: Shown | None = Field(default=None, description="The path, such as `GROCERY|TEA|GREEN`.")
    brand: Annotated[ShortText, AfterValidator(_shown)] | None = None
    price: Amount | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    url: WebAddress | None = None
    image: WebAddress | None = None
    in_stock: Flag | None = None
    hidden: Flag | None = Field(default=None, description="`true` hides the item in all lists, `false` shows it again.")
    attributes: Annotated[dict[ShortText, LongText], Field(max_length=100, default_factory=dict)]

    @model_validator(mode="after")
    def _states_something(self) -> "ItemUpdate":
        if not self.values():
            raise ValueError("it states no value of the item")
        return self

    def values(self) -> dict[str, Any]:
        """Return the stated fields."""
        names = type(self).model_fields.keys() - {"message_id", "item_id"}
        return {name: value for name in names if (value := getattr(self, name)) is not None and value != {}}


class NamedItemUpdate(ItemUpdate):
    """New values of one of several items."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"item_id": "995242", "in_stock": False}]})

    item_id: Id


class ItemUpdates(Body):
    """New values of several items."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [{"item_id": "995242", "in_stock": False}]}]})

    items: Annotated[tuple[NamedItemUpdate, ...], Field(min_length=1, max_length=MOST_CHANGES)]


def item_change(item: str, update: ItemUpdate) -> ItemChange:
    """Return the change of an item."""
    return ItemChange(item, **update.values())
