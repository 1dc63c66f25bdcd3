"""Reads the attributes of items that rules refer to."""

from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import not_, select

from infra.database.schema.offers import sold_now
from infra.database.schema.schema import items as goods
from infra.installation import Installation
from models import columns
from models.lists.rules.compiled_rules import ItemAttributes
from models.lists.rules.placement_config import Placement
from models.primitives.vocabulary import index_of, words
from tasks.lake.event_engine import read_once
from tasks.lake.reference_data import ReferenceData, read_reference_data
from tasks.lake.user_item_history import fully_refunded, item_ages


def catalogue_of(
    installation: Installation, items: NDArray[np.str_], placement: Placement, known: ReferenceData | None = None
) -> ItemAttributes:
    """Return the present attributes of these items (sorted).

    An item is not available if the catalogue does not know it or if all its purchases were refunded. Neither is an item
    that is out of stock, not released yet, or past its end. `known` is the reference data if it was read before.
    """
    known = known or read_reference_data(installation, history=False)
    catalogue = read_once(known, ("catalogue", id(items)), partial(_without_ages, installation, items, known))
    return (
        replace(catalogue, age_days=item_ages(installation, items, known))
        if placement.rules.lifetime_days
        else catalogue
    )


def _without_ages(installation: Installation, items: NDArray[np.str_], known: ReferenceData) -> ItemAttributes:
    rows = known.items
    at = index_of(words(rows[columns.ITEM_ID]), items)
    matched = rows.take(pa.array(at, mask=at < 0))
    price = matched[columns.PRICE].to_numpy(zero_copy_only=False).astype(np.float64)
    available = np.array(matched[columns.AVAILABLE].to_pylist(), dtype=object) == True  # noqa: E712 - nulls are not
    return ItemAttributes(
        items=items,
        category=words(matched[columns.CATEGORY]),
        brand=words(matched[columns.BRAND]),
        price=price,
        age_days=np.full(len(items), np.nan),
        available=available
        & ~fully_refunded(installation, items, known)
        & ~np.isin(items, _not_sold_now(installation)),
    )


def withheld(
    installation: Installation, placement: Placement, catalogue: ItemAttributes, known: ReferenceData
) -> NDArray[np.bool_]:
    """Return [n] which items the placement hides from everybody because of events, which only the lake knows."""
    hidden = fully_refunded(installation, catalogue.items, known)
    if placement.rules.lifetime_days is not None:
        hidden = hidden | (catalogue.age_days > placement.rules.lifetime_days)
    return hidden


def _not_sold_now(installation: Installation) -> list[str]:
    """Return the merchandise that cannot be bought now. Data sets do not see that: it is only known as of now."""
    with installation.engine.connect() as connection:
        return list(connection.execute(select(goods.c.item_id).where(goods.c.available, not_(sold_now()))).scalars())


def titles_not_for_sale(installation: Installation) -> list[str]:
    """Return the titles of items that cannot be bought, but for those that an item on sale has too."""
    shown = select(goods.c.title).where(sold_now())
    hidden = select(goods.c.title).where(not_(sold_now()), goods.c.title.is_not(None)).except_(shown)
    with installation.engine.connect() as connection:
        return list(connection.execute(hidden).scalars())
