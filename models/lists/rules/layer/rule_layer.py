"""The rules that operators set without the placements file: pins, hidden items and boosts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal, Protocol, Self, get_args

from models.columns import CATEGORY_SEPARATOR
from models.lists.rules.rule_config import Boost

BoostKind = Literal["item", "category", "brand"]
BOOST_KINDS: tuple[BoostKind, ...] = get_args(BoostKind)


class Boosted(Protocol):
    """A factor on the scores of an item, a category or a brand."""

    @property
    def kind(self) -> str: ...

    @property
    def value(self) -> str: ...

    @property
    def factor(self) -> float: ...


@dataclass(frozen=True, slots=True)
class BoostFactors:
    """Factors by item, by path of the category, and by brand: an item takes a few look-ups, not all boosts."""

    items: dict[str, float] = field(default_factory=dict)
    categories: dict[str, float] = field(default_factory=dict)
    brands: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, boosts: Iterable[Boosted]) -> Self:
        """Return the factors of boosts; those about the same thing are multiplied."""
        made = cls()
        by_kind = {"item": made.items, "category": made.categories, "brand": made.brands}
        for boost in boosts:
            factors = by_kind[boost.kind]
            factors[boost.value] = factors.get(boost.value, 1.0) * boost.factor
        return made

    def factor(self, item_id: str, category: str, brand: str) -> float:
        """Return the factor of an item. A category's factor counts for all categories below it."""
        found = self.items.get(item_id, 1.0) * self.brands.get(brand, 1.0)
        if self.categories:
            end = len(category)
            while end >= 0:
                found *= self.categories.get(category[:end], 1.0)
                end = category.rfind(CATEGORY_SEPARATOR, 0, end)
        return found


@dataclass(frozen=True, kw_only=True)
class OperatorRule:
    """What all rules of operators have. Author and time do not make two rules different."""

    until: datetime | None = None
    """The moment at which the rule ends; None for a rule without an end."""
    author: str = field(default="", compare=False)
    since: datetime | None = field(default=None, compare=False)
    """When the rule was first stored."""

    def ended(self, now: datetime) -> bool:
        """Return whether the rule no longer counts."""
        return self.until is not None and self.until <= now


@dataclass(frozen=True, kw_only=True)
class PinnedItem(OperatorRule):
    """An item with a fixed place on all lists of a placement."""

    placement: str
    item: str
    place: int
    """From 1."""


@dataclass(frozen=True, kw_only=True)
class HiddenItem(OperatorRule):
    """An item that no list holds."""

    item: str
    placement: str | None = None
    """None: in all placements."""


@dataclass(frozen=True, kw_only=True)
class ItemBoost(OperatorRule):
    """A factor on the scores of an item, or of the items of a category or a brand, in one placement."""

    placement: str
    kind: BoostKind
    value: str
    """The item's id, the path of the category, or the brand."""
    factor: float

    @property
    def compiled(self) -> Boost:
        """Return the same boost as a rule of the placements file."""
        name = "items" if self.kind == "item" else self.kind
        return Boost.model_validate({name: [self.value], "by": self.factor})


AnyRule = PinnedItem | HiddenItem | ItemBoost


@dataclass(frozen=True)
class RuleLayer:
    """All rules of operators at one version, or those of them that count for one placement."""

    pins: tuple[PinnedItem, ...] = ()
    hides: tuple[HiddenItem, ...] = ()
    boosts: tuple[ItemBoost, ...] = ()

    def __iter__(self) -> Iterator[AnyRule]:
        """Yield all rules."""
        yield from self.pins
        yield from self.hides
        yield from self.boosts

    def by_kind(self) -> dict[str, Sequence[AnyRule]]:
        """Return the rules under the names of their kinds."""
        return {"pins": self.pins, "hides": self.hides, "boosts": self.boosts}

    def place_of(self, rule: AnyRule) -> str:
        """Return the place of one of the rules, such as `/pins/0`."""
        places = (
            f"/{kind}/{at}" for kind, rules in self.by_kind().items() for at, one in enumerate(rules) if one is rule
        )
        return next(places)

    def __bool__(self) -> bool:
        """Return whether there is any rule."""
        return bool(self.pins or self.hides or self.boosts)

    def at(self, placement: str, now: datetime) -> "RuleLayer":
        """Return the rules that count for a placement at a moment."""
        return self.of(placement).counting(now)

    def counting(self, now: datetime) -> "RuleLayer":
        """Return the rules that have not ended."""
        return RuleLayer(
            tuple(pin for pin in self.pins if not pin.ended(now)),
            tuple(hide for hide in self.hides if not hide.ended(now)),
            tuple(boost for boost in self.boosts if not boost.ended(now)),
        )

    def of(self, placement: str) -> "RuleLayer":
        """Return the rules of a placement, also those that have ended."""
        return RuleLayer(
            tuple(pin for pin in self.pins if pin.placement == placement),
            tuple(hide for hide in self.hides if hide.placement in (None, placement)),
            tuple(boost for boost in self.boosts if boost.placement == placement),
        )

    def next_end(self, now: datetime) -> datetime | None:
        """Return the next moment at which a rule ends; None if none will."""
        return min((rule.until for rule in self if rule.until is not None and rule.until > now), default=None)

    @cached_property
    def hidden(self) -> frozenset[str]:
        """The items that are hidden in any placement; of one placement's rules, those hidden there."""
        return frozenset(hide.item for hide in self.hides)

    @cached_property
    def factors(self) -> BoostFactors:
        """The factors of the boosts. They are those of an item's score only for the rules of one placement."""
        return BoostFactors.of(self.boosts)

    @cached_property
    def items(self) -> frozenset[str]:
        """All items that the rules name."""
        boosted = (boost.value for boost in self.boosts if boost.kind == "item")
        return frozenset((*(pin.item for pin in self.pins), *self.hidden, *boosted))


NO_RULES = RuleLayer()


def words(rule: AnyRule) -> str:
    """Return a sentence that states a rule, its end and its author."""
    if isinstance(rule, PinnedItem):
        stated = f"item {rule.item!r} is pinned to place {rule.place} of {rule.placement}"
    elif isinstance(rule, HiddenItem):
        stated = f"item {rule.item!r} is hidden {f'in {rule.placement}' if rule.placement else 'in all placements'}"
    else:
        stated = f"{rule.kind} {rule.value!r} is boosted by {rule.factor:g} in {rule.placement}"
    end = f" until {rule.until:%Y-%m-%d %H:%M %Z}" if rule.until else ""
    author = f", by {rule.author}" if rule.author else ""
    since = f" on {rule.since:%Y-%m-%d}" if rule.since else ""
    return f"{stated}{end}{author}{since}"
