"""Parses placements: where lists are shown, how long they are, and their rules."""

import re
from collections.abc import Callable
from math import ceil
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator

from models.columns import PURCHASE
from models.errors import TailorbirdError
from models.lists.rules.rule_config import EVER, Form, Rules
from models.primitives.config_faults import across
from models.primitives.config_faults import faults as faults_of
from models.primitives.json_types import JsonObject

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
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
            (
                item and self.policy != "mix",
                "policy",
                "it is about users, and these lists are about items; take it out",
            ),
            (item and self.live, "live", "it is about visitors, and these lists are about items; take it out"),
            (item and bool(hide), "rules.hide", "it is about users, and these lists are about items; take it out"),
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
        if not _NAME.fullmatch(name):
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
