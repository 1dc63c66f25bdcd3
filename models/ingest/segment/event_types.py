"""Map each Segment event to an interaction, a reversal, an update of the catalogue, or to nothing."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.columns import EVENT_TYPES

SENT_AT: Final = "sentAt"
"""The member with the moment of sending, which differs when a library repeats a call."""


@dataclass(frozen=True)
class Meaning:
    """The treatment of an event."""

    kind: str
    """The kind that a line counts as if it is no interaction."""
    event_type: str | None = None
    """One of EVENT_TYPES; None if the event is no interaction."""
    many: bool = False
    """Its products are in `products[]`; an event about one product uses them only if it names no product itself."""
    products: bool = True
    """Whether its products are read, at least for the catalogue. Always true for an interaction."""

    def __post_init__(self) -> None:
        if self.event_type is not None and self.event_type not in EVENT_TYPES:
            known = ", ".join(EVENT_TYPES)
            raise ValueError(f"there is no event type {self.event_type!r}; use one of: {known}")
        if self.event_type is not None and not self.products:
            raise ValueError(f"a {self.event_type} is about products, so they have to be read: set products=True")


def event_name(name: str) -> str:
    """Return the lookup form of an event name: `Order Completed`, `order_completed` and `orderCompleted` are equal."""
    return re.sub("[ _-]", "", name.lower())


_KINDS: Final = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


def _named(source: str, form: str = "{}") -> dict[str, Meaning]:
    """Return the meanings of the events of a source, by the lookup form of their names in this form."""
    return {
        event_name(form.format(*map(str.strip, event.split("|")))): Meaning(
            stated.get("kind", kind), stated.get("event_type"), stated.get("many", False), stated.get("products", True)
        )
        for kind, stated in _KINDS.items()
        for event in filter(None, stated.get(source, "").split(","))
    }


_ACTION_FIRST: Final = "{1} {0}"
MEANINGS: Final[Mapping[str, Meaning]] = {
    name: meaning
    for source in ("specified", "own")
    for form in ("{0} {1}", _ACTION_FIRST)
    for name, meaning in _named(source, form).items()
}
"""The meaning of every known event, by the lookup form of its name. All other events are routed."""
ACTION_FIRST: Final = frozenset(_named("specified", _ACTION_FIRST))
"""The names of version 1, in which the id of a product is `id`."""
MIXPANEL: Final[Mapping[str, Meaning]] = _named("mixpanel")
"""Names that Mixpanel projects use besides those of Segment's specification."""


def extended(custom: Mapping[str, Meaning | str]) -> Mapping[str, Meaning]:
    """Return the meanings with custom events, each a meaning or an event type about one product.

    A custom meaning replaces a known one. Raises ValueError for an unknown event type.
    """
    own = {event_name(name): Meaning(one, one) if isinstance(one, str) else one for name, one in custom.items()}
    return {**MEANINGS, **own}
