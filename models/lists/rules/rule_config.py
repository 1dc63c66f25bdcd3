"""Parses a placement's rules: which items its lists may hold, and in which order."""

from math import floor, inf
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from models.columns import BRAND, CATEGORY, CATEGORY_SEPARATOR, EVENT_TYPES, PRICE
from models.ingest.batch_limits import Bounds, Limit
from models.primitives.config_faults import across

EVER: Final = "ever"
_ROUNDING: Final = 1e-9
# 0.29 x 100 is a little less than 29.
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


def _event_type(name: str) -> str:
    if name not in EVENT_TYPES:
        raise ValueError(f"there is no event type {name!r}; use one of {', '.join(EVENT_TYPES)}")
    return name


def _window(value: Any) -> Any:
    if value == EVER:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise ValueError(f'{value!r} is no time; write days, such as 30 or 0.5, or "{EVER}"')
    return float(value)


Window = Annotated[float | Literal["ever"], BeforeValidator(_window)]
"""Days back from now, or all time."""


class Caps(Form):
    """Maxima per category and per brand in one list; items without a category or brand are not counted."""

    category: int | None = Field(default=None, ge=1)
    brand: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _require_a_cap(self) -> Self:
        if self.category is None and self.brand is None:
            raise ValueError("it caps nothing; write how many of one category or brand, such as { category = 3 }")
        return self


class Boost(Selector):
    """Items that are ranked higher than by the model, or lower."""

    by: float = Field(gt=0)
    """The factor of their scores; the factors of several boosts are multiplied."""


class Pin(Form):
    """An item with a fixed place, for all users from whom it is not hidden."""

    item: str = Field(min_length=1)
    place: int = Field(ge=1)


class Promote(Selector):
    """Items that have a share of the places reserved."""

    share: float = Field(gt=0, le=1)

    def places(self, k: int) -> int:
        """Return how many of `k` places the share is."""
        return floor(self.share * k + _ROUNDING)


class Rules(Form):
    """The items that a list may hold, and their order."""

    hide: dict[Annotated[str, AfterValidator(_event_type)], Window] = Field(default_factory=dict)
    """Windows by event type: an item is hidden from a user who had such an event with it within the window."""
    include: Selector | None = None
    """Only these items are shown."""
    exclude: Selector | None = None
    """All items but these are shown."""
    exclude_items: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """These items are not shown either."""
    cap: Caps | None = None
    cap_level: int = Field(default=2, ge=1)
    """The levels of the path that make a category for `cap`, the most general first."""
    lifetime_days: float | None = Field(default=None, gt=0)
    """Items first seen longer ago are excluded; items of unknown age stay."""
    boost: list[Boost] = Field(default_factory=list)
    pin: list[Pin] = Field(default_factory=list)
    promote: Promote | None = None

    @model_validator(mode="after")
    def _no_pin_twice(self) -> Self:
        faults: dict[str, str] = {}
        for name in ("item", "place"):
            values = [getattr(pin, name) for pin in self.pin]
            for at, value in enumerate(values):
                if value in values[:at]:
                    faults[f"pin.{at}.{name}"] = f"{value!r} is pinned already, by pin.{values.index(value)}; keep one"
        if "cap_level" in self.model_fields_set and (self.cap is None or self.cap.category is None):
            faults["cap_level"] = "it belongs to a cap by category; add cap = { category = 3 } or take it out"
        if faults:
            raise across(faults)
        return self
