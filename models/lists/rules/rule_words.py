"""States a placement and its rules in plain words, for people who do not read its file."""

from collections.abc import Iterator
from typing import Final

from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_config import EVER, Rules, Selector

_POLICIES: Final = {
    "mix": "shows items that the user bought before, and others",
    "discover": "shows only items that the user never bought",
    "repurchase": "shows only items that the user bought before and that are due again",
}
_METHODS: Final = {"similarity": "shows items similar to an item", "co_purchase": "shows items bought with an item"}
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
        yield f"leaves out {_list(rules.exclude_items)}"
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
    parts = [f"the items {_list(selector.items)}"] if selector.items else ["items"]
    if selector.category:
        parts.append(f"in {_list(selector.category)}")
    if selector.brand:
        parts.append(f"of the brand {_list(selector.brand)}")
    if selector.price is not None:
        low, high = selector.price
        bounds = [f"from {low:g}"] if low is not None else []
        parts.append(f"with prices {' '.join([*bounds, *([f'up to {high:g}'] if high is not None else [])])}")
    return " ".join(parts)


def _list(words: list[str]) -> str:
    shown = ", ".join(map(repr, words[:_SHOWN]))
    return f"{shown} and {len(words) - _SHOWN} more" if len(words) > _SHOWN else shown
