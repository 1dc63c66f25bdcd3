"""The place of an item on a shelf, which links and buttons carry along."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_PLACEMENT: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_POSITION: Final = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Origin:
    """The list that showed an item, and the place on it."""

    recommendation_id: str
    placement: str
    position: int

    @classmethod
    def of(cls, fields: Mapping[str, str], position: str) -> "Origin | None":
        """Return the origin in a query or a form; None if there is none."""
        shown, placement = fields.get("list", ""), fields.get("placement", "")
        if _ID.fullmatch(shown) and _PLACEMENT.fullmatch(placement) and _POSITION.fullmatch(position):
            return cls(shown, placement, int(position))
        return None

    def stated(self) -> dict[str, str | int]:
        """Return the properties by which the recommender counts an act for this list."""
        return {
            "recommendation_id": self.recommendation_id,
            "placement": self.placement,
            "position": self.position,
        }
