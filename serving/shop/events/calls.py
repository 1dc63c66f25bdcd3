"""Builds the calls of Segment's specification."""

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Any, Final

from serving.shop.events.origin import Origin
from serving.shop.visits.visit import Visit

Call = dict[str, Any]
CATEGORY: Final = "Personalization"
"""The category of consent that the collector's mapping asks for."""
_LONGEST_AGENT: Final = 500


def clicked(visit: Visit, agent: str, item: str, origin: Origin) -> Call:
    """Return the click on an item of a shelf. A page that is loaded again states the same click."""
    seen = f"{visit.device} {origin.recommendation_id} {origin.position} {item}"
    name = hashlib.sha256(seen.encode()).hexdigest()[:32]
    return _track(visit, agent, "Product Clicked", {"product_id": item, **origin.stated()}) | {"messageId": name}


def viewed(visit: Visit, agent: str, item: str) -> Call:
    """Return the view of a product's page."""
    return _track(visit, agent, "Product Viewed", {"product_id": item})


def added(visit: Visit, agent: str, item: str, origin: Origin | None) -> Call:
    """Return an addition to the basket."""
    return _track(visit, agent, "Product Added", {"product_id": item, **(origin.stated() if origin else {})})


def removed(visit: Visit, agent: str, item: str) -> Call:
    """Return a removal from the basket."""
    return _track(visit, agent, "Product Removed", {"product_id": item})


def bought(visit: Visit, agent: str) -> Call:
    """Return the purchase of the basket."""
    products = [{"product_id": item, "quantity": number} for item, number in visit.basket]
    return _track(visit, agent, "Order Completed", {"order_id": secrets.token_hex(8), "products": products})


def signed_in(visit: Visit, agent: str) -> Call:
    """Return the sign-in of a household, which gets the clicks of this browser.

    It states no consent: a household that refused elsewhere stays so until it agrees itself.
    """
    call = _call(visit, agent, "identify", traits={})
    del call["context"]["consent"]
    return call


def answered(visit: Visit, agent: str, *, agrees: bool) -> Call:
    """Return the answer of a visitor about personal shelves. It counts at once."""
    call = _call(visit, agent, "identify", traits={})
    call["context"]["consent"] = _consent(agrees)
    return call


def _track(visit: Visit, agent: str, event: str, properties: dict[str, Any]) -> Call:
    return _call(visit, agent, "track", event=event, properties=properties)


def _call(visit: Visit, agent: str, kind: str, **stated: Any) -> Call:
    who = {"anonymousId": visit.device, "userId": visit.household}
    return {
        "type": kind,
        "messageId": secrets.token_hex(16),
        "timestamp": now(),
        "context": {"userAgent": agent[:_LONGEST_AGENT], "consent": _consent(agrees=True)},
        **{name: value for name, value in who.items() if value is not None},
        **stated,
    }


def now() -> str:
    """Return the time by the clock of this machine. The collector corrects it by the time of sending."""
    return datetime.now(UTC).isoformat()


def _consent(agrees: bool) -> dict[str, Any]:
    return {"categoryPreferences": {CATEGORY: agrees}}
