"""The catalogue as rules look at it."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import select

from infra.installation import Installation
from infra.schema import items as goods
from models import columns
from models.placement import Placement
from models.shelf_rules import Catalogue
from models.training_data import index_of, words
from tasks.dataset_events import Known
from tasks.dataset_known import known_now
from tasks.histories import ages, nobody_kept


def catalogue_of(
    here: Installation, items: NDArray[np.str_], placement: Placement, known: Known | None = None
) -> Catalogue:
    """What is known now of these items (sorted).

    An item that the catalogue does not know, or that nobody kept, is not available. `known` saves reading it again.
    """
    known = known or known_now(here, history=False)
    rows = known.items
    at = index_of(words(rows[columns.ITEM_ID]), items)
    found = rows.take(pa.array(at, mask=at < 0))
    price = found[columns.PRICE].to_numpy(zero_copy_only=False).astype(np.float64)
    available = np.array(found[columns.AVAILABLE].to_pylist(), dtype=object) == True  # noqa: E712 - nulls are not
    unknown = np.full(len(items), np.nan)
    return Catalogue(
        items=items,
        category=words(found[columns.CATEGORY]),
        brand=words(found[columns.BRAND]),
        price=price,
        age_days=ages(here, items, known) if placement.rules.lifetime_days else unknown,
        available=available & ~nobody_kept(here, items, known),
    )


def titles_not_for_sale(here: Installation) -> list[str]:
    """Return the titles of items that are not available, but for those that an available item has too."""
    shown = select(goods.c.title).where(goods.c.available)
    hidden = select(goods.c.title).where(goods.c.available.is_(False), goods.c.title.is_not(None)).except_(shown)
    with here.engine.connect() as connection:
        return list(connection.execute(hidden).scalars())
