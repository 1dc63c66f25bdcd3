"""How a rule says which items it means."""

from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from models.columns import BRAND, CATEGORY, CATEGORY_SEPARATOR, PRICE
from models.ingest.batch_limits import Bounds, Limit

KINDS: Final = ("items", CATEGORY, BRAND, PRICE)
"""What items can be selected by."""


def _words(said: Any) -> list[str]:
    if not isinstance(said, list) or not said:
        raise ValueError('write a list of one word or more, such as ["A", "B"]')
    for word in said:
        if not isinstance(word, str):
            raise ValueError(f"{word!r} is no word; write it in quotes")
        if not word.strip():
            raise ValueError("an empty word selects nothing; take it out")
    return said


def _paths(said: list[str]) -> list[str]:
    for path in said:
        if not all(level.strip() for level in path.split(CATEGORY_SEPARATOR)):
            raise ValueError(f"a level of {path!r} is empty; write whole levels, such as 'FOOD{CATEGORY_SEPARATOR}TEA'")
    return said


def _some_side(said: Bounds) -> Bounds:
    if said == (None, None):
        raise ValueError("both sides are open, which selects by nothing; write a lowest or a highest price")
    return said


Words = Annotated[list[str], BeforeValidator(_words)]
Prices = Annotated[Limit, AfterValidator(_some_side)]


class Form(BaseModel):
    """A table of a file that people write: nothing is taken for something it is not."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Selector(Form):
    """Some items: of several words of one key any may match, of several keys all must.

    What has no brand, price or category is not selected by a rule about brands, prices or categories.
    """

    items: Words | None = None
    """Item ids."""
    category: Annotated[Words, AfterValidator(_paths)] | None = None
    """Paths, or their beginnings by whole levels: `A|B` is `A|B|C` too, and not `A|BC`."""
    brand: Words | None = None
    price: Prices | None = None
    """Lowest and highest, both included; a number alone is the highest."""

    @model_validator(mode="after")
    def _something_is_selected(self) -> Self:
        if all(getattr(self, kind) is None for kind in KINDS):
            raise ValueError(f"it selects nothing; name one of {', '.join(KINDS)}")
        return self
