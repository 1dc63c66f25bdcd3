"""The form of a placement: where lists are shown, how long they are, and the rules they keep."""

import re
from collections.abc import Callable
from math import ceil
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator

from models.columns import PURCHASE
from models.errors import TailorbirdError
from models.lists.rules.item_selector import Form
from models.lists.rules.rule_config import EVER, Rules
from models.primitives.config_faults import across, faults

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class PlacementError(TailorbirdError):
    """Placements that cannot be understood."""


def _shares(said: Any) -> tuple[float, float]:
    numbers = isinstance(said, list | tuple) and len(said) == 2 and all(type(side) in (int, float) for side in said)
    if not numbers or not 0 <= said[0] <= said[1] <= 1:
        raise ValueError("write [lowest, highest], both of them shares from 0 to 1, such as [0.05, 1]")
    return float(said[0]), float(said[1])


class Placement(Form):
    """Where lists are shown; each placement is published by itself."""

    about: Literal["user", "item"] = "user"
    """Whose lists: a user's, or an item's, such as similar items."""
    by: Literal["likeness", "baskets"] | None = None
    """How lists about items are made: what is like the item, or what is bought together with it."""
    k: int = Field(default=20, ge=1, le=1000)
    """How long a list is."""
    policy: Literal["discover", "again", "mix"] = "mix"
    """discover: hide what was bought. again: only what was bought and is due. mix: both kinds."""
    fresh_hours: float = Field(default=48, gt=0)
    """Lists that are older than this are stale."""
    overlap: Annotated[tuple[float, float], BeforeValidator(_shares)] = (0.0, 1.0)
    """The mean share of each list that is kept from the batch before lies between these, or the batch is refused."""
    rules: Rules = Rules()

    @field_validator("rules")
    @classmethod
    def _places_are_within_the_list(cls, rules: Rules, others: ValidationInfo) -> Rules:
        k = others.data.get("k")
        if k is None:
            return rules
        found = {
            f"pin.{at}.place": f"place {pin.place} is beyond the list; its places are 1 to k, which is {k}"
            for at, pin in enumerate(rules.pin)
            if pin.place > k
        }
        if rules.promote is not None:
            places, free = rules.promote.places(k), k - len(rules.pin)
            if not places:
                found["promote.share"] = (
                    f"this is less than one of {k} places; write at least {ceil(1000 / k) / 1000:g}"
                )
            elif places > free:
                found["promote.share"] = (
                    f"this is {places} of {k} places, and the pins leave {free}; write a smaller one"
                )
        if found:
            raise across(found)
        return rules

    @model_validator(mode="after")
    def _what_is_said_belongs_together(self) -> Self:
        item, hide = self.about == "item", self.rules.hide
        checks = (
            (item and self.by is None, "by", 'it is missing; lists about items are made by "likeness" or by "baskets"'),
            (not item and self.by is not None, "by", 'it belongs to lists about items; take it out, or about = "item"'),
            (
                item and self.policy != "mix",
                "policy",
                "it is about users, and these lists are about items; take it out",
            ),
            (item and bool(hide), "rules.hide", "it is about users, and these lists are about items; take it out"),
            (
                self.policy == "again" and hide.get(PURCHASE) == EVER,
                f"rules.hide.{PURCHASE}",
                'it hides all that policy = "again" may show; write days instead',
            ),
        )
        found = {where: what for wrong, where, what in checks if wrong}
        if found:
            raise across(found)
        return self


def placements(content: dict[str, Any], named: Callable[[str], str] = str) -> dict[str, Placement]:
    """The placements of a file by name, one table each; PlacementError names all faults at once, by their places.

    `named` returns what to call a key, such as the key with its line in a file.
    """
    read: dict[str, Placement] = {}
    found: list[str] = []
    for name, said in content.items():
        if not _NAME.fullmatch(name):
            found.append(
                f"{named(name)}: a placement is named by small letters, digits and - within, at most 63 in all"
            )
        try:
            read[name] = Placement.model_validate(said)
        except ValidationError as error:
            found += faults(Placement, error, within=name, label=named)
    if found:
        raise PlacementError(f"The placements cannot be used: {'; '.join(found)}.")
    return read
