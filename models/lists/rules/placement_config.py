"""Parses placements and their rules: where lists are shown, what they may hold, in which order; and states them."""

import re
from collections.abc import Callable, Iterator
from math import ceil, floor, inf
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from models.columns import BRAND, CATEGORY, CATEGORY_SEPARATOR, PRICE, PURCHASE, known_event_type
from models.errors import TailorbirdError
from models.ingest.batch_limits import Bounds, Limit
from models.primitives.config_faults import across
from models.primitives.config_faults import faults as faults_of
from models.primitives.json_types import JsonObject

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
    price: Annotated[Limit, AfterValidator(_some_side)] | None = None
    """Lowest and highest, both included; a single number is the highest."""

    @model_validator(mode="after")
    def _require_a_key(self) -> Self:
        if all(getattr(self, kind) is None for kind in KINDS):
            raise ValueError(f"it selects nothing; name one of {', '.join(KINDS)}")
        return self


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

    hide: dict[Annotated[str, AfterValidator(known_event_type)], Window] = Field(default_factory=dict)
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


NAME: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
CHAMPION: Final = "champion"
BEST_SELLERS: Final = ("best_sellers", "segment_best_sellers")
"""Lists without a model: of all users, or of the users of a segment."""
MODELS: Final = (CHAMPION, "challenger", *BEST_SELLERS)
_KEYS: Final = {"about": "subject", "by": "method"}
_VALUES: Final[dict[tuple[str | None, str], str]] = {
    ("method", "likeness"): "similarity",
    ("method", "baskets"): "co_purchase",
    ("policy", "again"): "repurchase",
}
"""Keys and values of earlier versions by their names of today."""


class PlacementError(TailorbirdError):
    """Placements that cannot be parsed."""


def _shares(value: Any) -> tuple[float, float]:
    numbers = isinstance(value, list | tuple) and len(value) == 2 and all(type(side) in (int, float) for side in value)
    if not numbers or not 0 <= value[0] <= value[1] <= 1:
        raise ValueError("write [lowest, highest], both of them shares from 0 to 1, such as [0.05, 1]")
    return float(value[0]), float(value[1])


def _model(value: Any) -> int | str:
    if value in MODELS or (type(value) is int and value > 0):
        return value  # type: ignore[no-any-return]
    raise ValueError(f"{value!r} is no model; write the number of a version, or one of {', '.join(MODELS)}")


class Placement(Form):
    """Where lists are shown; each placement is published by itself."""

    subject: Literal["user", "item"] = "user"
    """The subject of a list: a user, or an item, such as for similar items."""
    method: Literal["similarity", "co_purchase"] | None = None
    """How lists about items are made: from similar items, or from items bought together."""
    k: int = Field(default=20, ge=1, le=1000)
    """The length of a list."""
    policy: Literal["discover", "repurchase", "mix"] = "mix"
    """discover: hide purchased items. repurchase: only purchased items that are due. mix: both kinds."""
    fresh_hours: float = Field(default=48, gt=0)
    """Lists that are older than this are stale."""
    overlap: Annotated[tuple[float, float], BeforeValidator(_shares)] = (0.0, 1.0)
    """Bounds of the mean share of a list that was on the list before; a batch beyond them is refused."""
    model: Annotated[int | str, BeforeValidator(_model)] = CHAMPION
    """The model of the lists, also by its version; or best sellers of the user's segment, or of all users."""
    live: bool = False
    """The API builds its lists at the time of each request, from the visitor's latest clicks."""
    rules: Rules = Rules()

    @model_validator(mode="before")
    @classmethod
    def _accept_earlier_names(cls, content: Any) -> Any:
        """Return the content under today's keys and values; the earlier ones stay valid."""
        if not isinstance(content, dict):
            return content
        earlier = {old: new for old, new in _KEYS.items() if old in content and new not in content}
        renamed = {earlier.get(key, key): value for key, value in content.items()}
        words = {key: _VALUES[key, str(value)] for key, value in renamed.items() if (key, str(value)) in _VALUES}
        return renamed | words

    @field_validator("rules")
    @classmethod
    def _places_are_within_the_list(cls, rules: Rules, others: ValidationInfo) -> Rules:
        k = others.data.get("k")
        if k is None:
            return rules
        faults = {
            f"pin.{at}.place": f"place {pin.place} is beyond the list; its places are 1 to k, which is {k}"
            for at, pin in enumerate(rules.pin)
            if pin.place > k
        }
        if rules.promote is not None:
            places, free = rules.promote.places(k), k - len(rules.pin)
            if not places:
                faults["promote.share"] = (
                    f"this is less than one of {k} places; write at least {ceil(1000 / k) / 1000:g}"
                )
            elif places > free:
                faults["promote.share"] = (
                    f"this is {places} of {k} places, and the pins leave {free}; write a smaller one"
                )
        if faults:
            raise across(faults)
        return rules

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        item, hide = self.subject == "item", self.rules.hide
        about_users = "it is about users, and these lists are about items; take it out"
        checks = (
            (
                item and self.method is None,
                "method",
                'it is missing; the method of lists about items is "similarity" or "co_purchase"',
            ),
            (
                not item and self.method is not None,
                "method",
                'it belongs to lists about items; take it out, or write subject = "item"',
            ),
            (item and self.policy != "mix", "policy", about_users),
            (item and self.model != CHAMPION, "model", about_users),
            (
                self.live and self.model != CHAMPION,
                "live",
                'only the champion makes lists at the time of a request; take it out, or write model = "champion"',
            ),
            (item and self.live, "live", "it is about visitors, and these lists are about items; take it out"),
            (item and bool(hide), "rules.hide", about_users),
            (
                self.policy == "repurchase" and hide.get(PURCHASE) == EVER,
                f"rules.hide.{PURCHASE}",
                'it hides all that policy = "repurchase" may show; write days instead',
            ),
        )
        faults = {key: message for wrong, key, message in checks if wrong}
        if faults:
            raise across(faults)
        return self


def placements(content: JsonObject, key_label: Callable[[str], str] = str) -> dict[str, Placement]:
    """Return the placements of a file by name, one table each.

    `key_label` returns the text for a key, such as the key with its line in a file. Raises PlacementError, which names
    all faults by their keys.
    """
    read: dict[str, Placement] = {}
    faults: list[str] = []
    for name, table in content.items():
        if not re.fullmatch(NAME, name, re.ASCII):
            faults.append(
                f"{key_label(name)}: a placement is named by small letters, digits and - within, at most 63 in all"
            )
        try:
            read[name] = Placement.model_validate(table)
        except ValidationError as error:
            faults += faults_of(Placement, error, name, key_label)
    if faults:
        raise PlacementError(f"The placements cannot be used: {'; '.join(faults)}.")
    return read


_POLICIES: Final = {
    "mix": "shows items that the user bought before, and others",
    "discover": "shows only items that the user never bought",
    "repurchase": "shows only items that the user bought before and that are due again",
}
_METHODS: Final = {"similarity": "shows items similar to an item", "co_purchase": "shows items that go with an item"}
_SHOWN: Final = 5


def sentences(placement: Placement) -> list[str]:
    """Return a sentence for the placement, and one for each of its rules."""
    shows = _POLICIES[placement.policy] if placement.method is None else _METHODS[placement.method]
    live = ", made at the time of the request" if placement.live else ""
    return [f"{shows}, {placement.k} on a list{live}", *_of_rules(placement.rules)]


def _of_rules(rules: Rules) -> Iterator[str]:
    for event, days in rules.hide.items():
        window = "" if days == EVER else f" in the last {days:g} days"
        yield f"hides items that the user had the event {event} with{window}"
    if rules.include is not None:
        yield f"shows only {_selected(rules.include)}"
    if rules.exclude is not None:
        yield f"leaves out {_selected(rules.exclude)}"
    if rules.exclude_items:
        yield f"leaves out {listed(rules.exclude_items)}"
    for name in ("category", "brand"):
        most = None if rules.cap is None else getattr(rules.cap, name)
        if most is not None:
            yield f"shows at most {most} of one {name}"
    if rules.lifetime_days is not None:
        yield f"leaves out items first seen more than {rules.lifetime_days:g} days ago"
    yield from (f"multiplies the scores of {_selected(boost)} by {boost.by:g}" for boost in rules.boost)
    yield from (f"puts {pin.item!r} in place {pin.place}" for pin in rules.pin)
    if rules.promote is not None:
        yield f"keeps {rules.promote.share:.0%} of the places for {_selected(rules.promote)}"


def _selected(selector: Selector) -> str:
    parts = [f"the items {listed(selector.items)}"] if selector.items else ["items"]
    if selector.category:
        parts.append(f"in {listed(selector.category)}")
    if selector.brand:
        parts.append(f"of the brand {listed(selector.brand)}")
    if selector.price is not None:
        low, high = selector.price
        bounds = [f"from {low:g}"] if low is not None else []
        parts.append(f"with prices {' '.join([*bounds, *([f'up to {high:g}'] if high is not None else [])])}")
    return " ".join(parts)


def listed(words: list[str], most: int = _SHOWN) -> str:
    """Return the words in quotes, at most so many."""
    shown = ", ".join(map(repr, words[:most]))
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown
