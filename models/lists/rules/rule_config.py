"""The form of a placement's rules: what its lists may hold, and in which order."""

from math import floor, inf
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from models.columns import EVENT_TYPES
from models.lists.rules.item_selector import Form, Selector
from models.primitives.config_faults import across

EVER: Final = "ever"
_ROUNDING: Final = 1e-9
# 0.29 x 100 is a little less than 29.


def _event_type(name: str) -> str:
    if name not in EVENT_TYPES:
        raise ValueError(f"there is no event type {name!r}; use one of {', '.join(EVENT_TYPES)}")
    return name


def _window(said: Any) -> Any:
    if said == EVER:
        return said
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < inf:
        raise ValueError(f'{said!r} is no time; write days, such as 30 or 0.5, or "{EVER}"')
    return float(said)


Window = Annotated[float | Literal["ever"], BeforeValidator(_window)]
"""Days back from now, or all time."""


class Caps(Form):
    """At most so many of one category, or of one brand, in one list; items without any are not counted."""

    category: int | None = Field(default=None, ge=1)
    brand: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _something_is_capped(self) -> Self:
        if self.category is None and self.brand is None:
            raise ValueError("it caps nothing; say how many of one category or brand, such as { category = 3 }")
        return self


class Boost(Selector):
    """Items that stand higher than the model has them, or lower."""

    by: float = Field(gt=0)
    """The factor of their scores; the factors of several boosts are multiplied."""


class Pin(Form):
    """An item with a place of its own, for everybody who may have it."""

    item: str = Field(min_length=1)
    place: int = Field(ge=1)


class Promote(Selector):
    """Items that have a share of the places to themselves."""

    share: float = Field(gt=0, le=1)

    def places(self, k: int) -> int:
        """How many of `k` places that is."""
        return floor(self.share * k + _ROUNDING)


class Rules(Form):
    """What a list may hold, and in which order."""

    hide: dict[Annotated[str, AfterValidator(_event_type)], Window] = Field(default_factory=dict)
    """What a user did lately to an item, by the type of the event, keeps the item from that user."""
    include: Selector | None = None
    """Only these items are shown."""
    exclude: Selector | None = None
    """All items but these are shown."""
    cap: Caps | None = None
    cap_level: int = Field(default=2, ge=1)
    """So many levels of the path, the most general first, make a category for `cap`."""
    lifetime_days: float | None = Field(default=None, gt=0)
    """Items first seen longer ago are left out; those of unknown age stay."""
    boost: list[Boost] = Field(default_factory=list)
    pin: list[Pin] = Field(default_factory=list)
    promote: Promote | None = None

    @model_validator(mode="after")
    def _no_pin_twice(self) -> Self:
        found: dict[str, str] = {}
        for name in ("item", "place"):
            said = [getattr(pin, name) for pin in self.pin]
            for at, value in enumerate(said):
                if value in said[:at]:
                    found[f"pin.{at}.{name}"] = f"{value!r} is pinned already, by pin.{said.index(value)}; keep one"
        if "cap_level" in self.model_fields_set and (self.cap is None or self.cap.category is None):
            found["cap_level"] = "it belongs to a cap by category; add cap = { category = 3 } or take it out"
        if found:
            raise across(found)
        return self
