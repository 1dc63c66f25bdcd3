"""The rules that operators set without the placements file: pins, hidden items and boosts; and their effect on lists.

A placement gets them beside the rules of its file, so that one list builder applies both. A list was made under the
rules of its time: its scores are freed of the factors of that time and get those of today, its pins give up their
places, and today's pins take theirs. Nothing enters the list but pins; docs/decisions states the limits of that.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, Self, TypeVar, cast, get_args

import numpy as np

from models.columns import CATEGORY_SEPARATOR
from models.lists.rules.placement_config import Boost, Pin, Placement
from models.lists.slot_filling import boosted
from models.primitives.json_types import JsonObject
from models.recommenders.explanations.sentences import PICKED

BoostKind = Literal["item", "category", "brand"]
BOOST_KINDS: tuple[BoostKind, ...] = get_args(BoostKind)


@dataclass(frozen=True, slots=True)
class BoostFactors:
    """Factors by kind and value: an item takes a few look-ups, not all boosts."""

    factors: dict[tuple[str, str], float] = field(default_factory=dict)

    @classmethod
    def of(cls, boosts: "Iterable[ItemBoost]") -> Self:
        """Return the factors of boosts; those about the same thing are multiplied."""
        factors: dict[tuple[str, str], float] = {}
        for boost in boosts:
            key = boost.kind, boost.value
            factors[key] = factors.get(key, 1.0) * boost.factor
        return cls(factors)

    def factor(self, item_id: str, category: str, brand: str) -> float:
        """Return the factor of an item. A category's factor counts for all categories below it."""
        found = self.factors.get(("item", item_id), 1.0) * self.factors.get(("brand", brand), 1.0)
        end = len(category)
        while self.factors and end >= 0:
            found *= self.factors.get(("category", category[:end]), 1.0)
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
        return self._kept(lambda rule: not rule.ended(now))

    def of(self, placement: str) -> "RuleLayer":
        """Return the rules of a placement, also those that have ended."""
        return self._kept(lambda rule: rule.placement in (None, placement))

    def _kept(self, keep: Callable[[AnyRule], bool]) -> "RuleLayer":
        return RuleLayer(*(tuple(filter(keep, rules)) for rules in self.by_kind().values()))  # type: ignore[arg-type]

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


Rule = TypeVar("Rule", bound=OperatorRule)


@dataclass(frozen=True)
class RuleVersion:
    """One version of the rules of operators, with its author."""

    version: int
    """From 1; 0 stands for no version at all."""
    layer: RuleLayer
    author: str
    comment: str
    created_at: datetime
    restores: int | None = None
    """The earlier version that an undo made current again."""


NO_VERSION = RuleVersion(0, NO_RULES, "", "", datetime.fromtimestamp(0, UTC))


def attributed(layer: RuleLayer, before: RuleLayer, author: str, now: datetime) -> RuleLayer:
    """Return the layer with authors and times: of the version before for rules that it has, else these."""

    def signed(rules: tuple[Rule, ...], known: tuple[Rule, ...]) -> tuple[Rule, ...]:
        earlier = {rule: rule for rule in known}
        return tuple(earlier.get(rule) or replace(rule, author=author, since=now) for rule in rules)

    return RuleLayer(
        signed(layer.pins, before.pins), signed(layer.hides, before.hides), signed(layer.boosts, before.boosts)
    )


def layer_to_json(layer: RuleLayer) -> JsonObject:
    """Return the layer as JSON."""
    return {"pins": _written(layer.pins), "hides": _written(layer.hides), "boosts": _written(layer.boosts)}


def layer_from_json(content: JsonObject) -> RuleLayer:
    """Return the layer of its JSON; absent kinds of rules are empty."""
    return RuleLayer(
        tuple(PinnedItem(**_read(rule)) for rule in content.get("pins", ())),
        tuple(HiddenItem(**_read(rule)) for rule in content.get("hides", ())),
        tuple(ItemBoost(**_read(rule)) for rule in content.get("boosts", ())),
    )


def _written(rules: Sequence[OperatorRule]) -> list[JsonObject]:
    return [
        {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(rule).items()
            if value is not None
        }
        for rule in rules
    ]


def _read(rule: object) -> dict[str, Any]:
    fields = dict(cast(JsonObject, rule))
    moments = {name: datetime.fromisoformat(str(fields[name])) for name in ("until", "since") if name in fields}
    return fields | moments


Ranked = tuple[str, float, str]
"""Item, score and reason."""
Factor = Callable[[str], float]
"""Returns the factor of an item's score."""


def layered(placement: Placement, active: RuleLayer) -> Placement:
    """Return the placement under the rules of operators that count for it; the same object without any.

    A pin of operators replaces the file's pins of its place and of its item. Hidden items are excluded. Factors are
    multiplied. A pin beyond the list has no effect: the file may have been changed after the pin was checked.
    """
    if not active:
        return placement
    rules = placement.rules
    added = {
        "pin": list(pins(placement, active)),
        "exclude_items": sorted({*rules.exclude_items, *active.hidden}),
        "boost": [*rules.boost, *(boost.compiled for boost in active.boosts)],
    }
    return placement.model_copy(update={"rules": rules.model_copy(update=added)})


def pins(placement: Placement, active: RuleLayer) -> tuple[Pin, ...]:
    """Return the pins that count, by their places."""
    own = {pin.place: pin.item for pin in active.pins if pin.place <= placement.k}
    items = frozenset(own.values())
    others = {pin.place: pin.item for pin in placement.rules.pin if pin.item not in items | active.hidden}
    return tuple(Pin(item=item, place=place) for place, item in sorted((others | own).items()))


@dataclass(frozen=True)
class RuleChange:
    """The rules that a list was made under, and those of today, as far as they move items."""

    pins_then: Mapping[str, int]
    """Places, from 1, by item."""
    pins_now: Mapping[str, int]
    factor: Factor
    """The factor of today divided by the factor of that time."""

    @property
    def new_pins(self) -> frozenset[str]:
        """Return the pinned items that were not pinned then."""
        return frozenset(self.pins_now.keys() - self.pins_then.keys())


def reranked(
    entries: Sequence[Ranked], change: RuleChange, insertable: Collection[str] = (), page: range | None = None
) -> list[Ranked]:
    """Return the entries in the order of today's rules.

    New pins that are not on the list are added if they are `insertable`. Pins of places beyond a short list come last.
    With the places of a `page`, the entries are that page, and pins of other places are on other pages.
    """
    first = 1 if page is None else page.start
    known = {entry[0]: entry for entry in entries}
    for item, score, reason in entries:
        if (factor := change.factor(item)) != 1:
            known[item] = (item, float(boosted(np.array([score], np.float32), np.float32(factor))[0]), reason)
    pinned = {item for item in known if item in change.pins_now}
    unpinned = [item for item in known if item in change.pins_then and item not in pinned]
    runs = _runs([entry for entry in entries if entry[0] not in change.pins_now and entry[0] not in change.pins_then])
    ordered = [sorted((known[entry[0]] for entry in run), key=_order) for run in runs]
    for item in unpinned:
        if known[item][2] != PICKED:  # otherwise no model ranks it
            _insert(ordered, known[item])
    listed = [entry for run in ordered for entry in run]
    for item, place in sorted(change.pins_now.items(), key=lambda pin: pin[1]):
        if (page is None or place in page) and (item in known or item in insertable):
            listed.insert(place - first, known.get(item, (item, 0.0, PICKED)))
    return listed


def _runs(entries: Sequence[Ranked]) -> list[list[Ranked]]:
    """Return the parts of a list in which scores descend.

    A higher score begins another part: best sellers after a model's items have scores of another scale, and promoted
    places interrupt the order.
    """
    runs = [[entry] for entry in entries[:1]]
    for before, entry in pairwise(entries):
        if entry[1] > before[1]:
            runs.append([])
        runs[-1].append(entry)
    return runs


def _insert(runs: list[list[Ranked]], entry: Ranked) -> None:
    """Put an item that lost its pin where its score belongs: into the part of its scale, else to the end."""
    within = [run for run in runs if run[0][1] >= entry[1] >= run[-1][1]]
    if not within and len(runs) != 1:
        runs.append([entry])
        return
    run = (within or runs)[0]
    run.append(entry)
    run.sort(key=_order)


def _order(entry: Ranked) -> tuple[float, str]:
    """Sort by score, and then as list builders do: by id."""
    return -entry[1], entry[0]
