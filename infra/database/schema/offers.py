"""Which items can be bought now."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, not_, or_

from infra.database.schema.schema import items


def sold_now() -> ColumnElement[bool]:
    """SQL for an item that is merchandise, in stock as far as is known, released, and not past its end."""
    item = items.c
    released = or_(item.available_from.is_(None), item.available_from <= func.now())
    offered = or_(item.available_until.is_(None), item.available_until > func.now())
    return and_(item.available, item.in_stock.is_not(False), released, offered)


def unconfirmed() -> ColumnElement[bool]:
    """SQL for an item that only pages have named: its sale begins when a catalogue or a server describes it."""
    return not_(func.isfinite(items.c.available_from))


def why_not_sold(item: Mapping[str, Any], now: datetime) -> str | None:
    """Say why an item, by its row in the catalogue, cannot be bought; None if it can."""
    if not item["available"]:
        return "The catalogue marks the item as no merchandise."
    if item["in_stock"] is False:
        return "The item is out of stock."
    if item["available_from"] and item["available_from"].year == datetime.max.year:
        return "Only pages have named the item. An ingest of a catalogue that has it shows it."
    if item["available_from"] and item["available_from"] > now:
        return f"The item is not released before {item['available_from']:%Y-%m-%d %H:%M} UTC."
    if item["available_until"] and item["available_until"] <= now:
        return f"The sale of the item ended at {item['available_until']:%Y-%m-%d %H:%M} UTC."
    return None
