"""Selects the items that a rule applies to."""

from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from models.columns import BRAND, CATEGORY, CATEGORY_SEPARATOR, PRICE
from models.ingest.batch_limits import Bounds, Limit

KINDS: Final = ("items", CATEGORY, BRAND, PRICE)
"""The keys that items can be selected by."""


def _words(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError('write a list of one word or more, such as ["A", "B"]')
    for word in value:
        if not isinstance(word, str):
            raise ValueError(f"{word!r} is no word; write it in quotes")
        if not word.strip():
            raise ValueError("an empty word selects nothing; take it out")
    return value


def _paths(value: list[str]) -> list[str]:
    for path in value:
        if not all(level.strip() for level in path.split(CATEGORY_SEPARATOR)):
            raise ValueError(f"a level of {path!r} is empty; write whole levels, such as 'FOOD{CATEGORY_SEPARATOR}TEA'")
    return value


def _some_side(value: Bounds) -> Bounds:
    if value == (None, None):
        raise ValueError("both sides are open, which selects by nothing; write a lowest or a highest price")
    return value


Words = Annotated[list[str], BeforeValidator(_words)]
Prices = Annotated[Limit, AfterValidator(_some_side)]


class Form(BaseModel):
    """A table of a configuration file: unknown keys and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Selector(Form):
    """Some items: any of several words of one key may match, and all keys must match.

    A rule about brand, price or category never selects an item without that field.
    """

    items: Words | None = None
    """Item ids."""
    category: Annotated[Words, AfterValidator(_paths)] | None = None
    """Paths, or their beginnings by whole levels: `A|B` selects `A|B|C` too, but not `A|BC`."""
    brand: Words | None = None
    price: Prices | None = None
    """Lowest and highest, both included; a single number is the highest."""

    @model_validator(mode="after")
    def _require_a_key(self) -> Self:
        if all(getattr(self, kind) is None for kind in KINDS):
            raise ValueError(f"it selects nothing; name one of {', '.join(KINDS)}")
        return self
