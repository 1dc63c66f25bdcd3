"""Builds the calls of Segment's specification, also with the place of an item on a shelf."""

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from serving.shop.visits.visit import Line, Visit

Call = dict[str, Any]
CATEGORY: Final = "Personalization"
"""The category of consent that the collector's mapping asks for."""
_CONSENT: Final = "consent"
_LONGEST_AGENT: Final = 500
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_PLACEMENT: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_POSITION: Final = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Origin:
    """The list that showed an item, and the place on it. Links and buttons carry it along."""

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


def clicked(visit: Visit, agent: str, item: str, origin: Origin) -> Call:
    """Return the click on an item of a shelf. A page that is loaded again states the same click."""
    name = _name(visit, origin.recommendation_id, str(origin.position), item)
    return _track(visit, agent, "Product Clicked", {"product_id": item, **origin.stated()}) | name


def viewed(visit: Visit, agent: str, item: str) -> Call:
    """Return the view of a product's page."""
    return _track(visit, agent, "Product Viewed", {"product_id": item})


def added(visit: Visit, agent: str, item: str, origin: Origin | None) -> Call:
    """Return an addition to the basket."""
    return _track(visit, agent, "Product Added", {"product_id": item, **(origin.stated() if origin else {})})


def removed(visit: Visit, agent: str, item: str) -> Call:
    """Return a removal from the basket."""
    return _track(visit, agent, "Product Removed", {"product_id": item})


def bought(visit: Visit, agent: str, order: str) -> Call:
    """Return the purchase of the basket. A form that is sent twice states the same purchase."""
    properties = {"order_id": order, "products": [_product(line) for line in visit.basket]}
    return _track(visit, agent, "Order Completed", properties) | _name(visit, order)


def signed_in(visit: Visit, agent: str) -> Call:
    """Return the sign-in of a household, which gets the clicks of this browser.

    It states no consent: a household that refused elsewhere stays so until it agrees itself.
    """
    return _call(visit, agent, "identify", traits={})


def answered(visit: Visit, agent: str, *, agrees: bool) -> Iterator[Call]:
    """Yield the answer of a visitor about personal shelves, which counts at once.

    A refusal is that of the browser's id, too: it would otherwise outlive the household's answer.
    """
    both = visit.device is not None and visit.household is not None
    parts = [visit] if agrees or not both else [replace(visit, household=None), replace(visit, device=None)]
    for part in parts:
        call = _call(part, agent, "identify", traits={})
        call["context"][_CONSENT] = {"categoryPreferences": {CATEGORY: agrees}}
        yield call


def is_answer(call: Call) -> bool:
    """Return whether a call states an answer about consent. No other call does: the stored answer counts for it."""
    return _CONSENT in call["context"]


def _product(line: Line) -> dict[str, Any]:
    shown = {"recommendation_id": line.recommendation_id} if line.recommendation_id else {}
    return {"product_id": line.item, "quantity": line.number, **shown}


def _track(visit: Visit, agent: str, event: str, properties: dict[str, Any]) -> Call:
    return _call(visit, agent, "track", event=event, properties=properties)


def _call(visit: Visit, agent: str, kind: str, **stated: Any) -> Call:
    who = {"anonymousId": visit.device, "userId": visit.household}
    return {
        "type": kind,
        "messageId": secrets.token_hex(16),
        "timestamp": now(),
        "context": {"userAgent": agent[:_LONGEST_AGENT]},
        **{name: value for name, value in who.items() if value is not None},
        **stated,
    }


def _name(visit: Visit, *act: str) -> Call:
    """Return the id of an act, by which the recommender counts it once."""
    seen = " ".join([str(visit.device), *act])
    return {"messageId": hashlib.sha256(seen.encode()).hexdigest()[:32]}


def now() -> str:
    """Return the time by the clock of this machine. The collector corrects it by the time of sending."""
    return datetime.now(UTC).isoformat()
