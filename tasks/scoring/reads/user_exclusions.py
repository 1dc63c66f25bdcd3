"""Reads which items single users may not get, and which are due for them again."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse
from sqlalchemy import select

from infra.database.schema.schema import exclusions
from infra.installation import Installation
from models.columns import PURCHASE
from models.lists.rules.item_attributes import ItemAttributes
from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_config import EVER
from models.primitives.vocabulary import index_of
from tasks.lake.reference_data import ReferenceData
from tasks.lake.user_item_history import due, hidden


def hidden_and_due(
    installation: Installation,
    reference: ReferenceData,
    placement: Placement,
    keys: NDArray[np.str_],
    catalogue: ItemAttributes,
) -> tuple[Any, Any]:
    """Return two boolean CSR, users x items, of hidden and of due items; None if there are none.

    Only the policy `repurchase` has due items. Others hide what the user returned, which is not due either.
    """
    windows: dict[str, float | str] = dict(placement.rules.hide)
    if placement.policy == "discover":
        windows[PURCHASE] = EVER
    returned = placement.policy != "repurchase"
    by_events = hidden(installation, keys, catalogue.items, windows, reference, returned=returned)
    matrices = [matrix for matrix in (by_events, _excluded(installation, keys, catalogue)) if matrix is not None]
    both = (matrices[0] + matrices[1]).astype(bool) if len(matrices) == 2 else next(iter(matrices), None)
    return both, due(installation, keys, catalogue.items, reference) if placement.policy == "repurchase" else None


def _excluded(installation: Installation, keys: NDArray[np.str_], catalogue: ItemAttributes) -> Any:
    """Return a boolean CSR of the items that single users never want to see, None if there are none."""
    columns = exclusions.c
    with installation.engine.connect() as connection:
        rows = connection.execute(select(columns.user_key, columns.kind, columns.value)).all()
    if not rows:
        return None
    position = index_of(keys, pa.array([row.user_key for row in rows], pa.string())).tolist()
    selectors = {(row.kind, row.value) for row in rows}
    selected = {selector: np.flatnonzero(_selected(*selector, catalogue)) for selector in selectors}
    items = [selected[row.kind, row.value] for row in rows]
    known = [(user, own) for user, own in zip(position, items, strict=True) if user >= 0]
    if not known:
        return None
    user = np.repeat([user for user, _ in known], [len(own) for _, own in known])
    item = np.concatenate([own for _, own in known])
    pairs = sparse.csr_array((np.ones(len(item), dtype=bool), (user, item)), shape=(len(keys), len(catalogue.items)))
    pairs.sum_duplicates()
    return pairs


def _selected(kind: str, value: str, catalogue: ItemAttributes) -> NDArray[np.bool_]:
    if kind == "category":
        return catalogue.below(value)
    selected: NDArray[np.bool_] = (catalogue.items if kind == "item" else catalogue.brand) == value
    return selected
