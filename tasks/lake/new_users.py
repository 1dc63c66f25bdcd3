"""Reads traits and interactions of users who are newer than a model."""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.installation import Installation
from models import columns
from models.datasets.cold_start import NewUsers
from models.features.tables.session_features import ENGAGEMENT
from models.primitives.vocabulary import index_of
from tasks.lake.event_query import EventQuery
from tasks.lake.reference_data import ReferenceData
from tasks.lake.shared_reads import shared_event_engine

_INTEREST: Final = [name for _, names in ENGAGEMENT for name in names]
_NO_CLICKS: Final = pa.Table.from_batches([], pa.schema({columns.USER_KEY: pa.string(), columns.ITEM_ID: pa.string()}))
_NO_USERS: Final = _NO_CLICKS.select([columns.USER_KEY])
_CLICKS: Final = (
    EventQuery()
    .join_users("new_users")
    .where(f"list_contains($interest, event.{columns.EVENT_TYPE})")
    .not_refunded()
    .select("new_users.user_key, event.item_id", "ORDER BY new_users.user_key, event.occurred_at, event.item_id")
)


def newcomers(
    installation: Installation,
    reference: ReferenceData,
    eligible: NDArray[np.str_],
    users: NDArray[np.str_],
    items: NDArray[np.str_],
) -> NewUsers:
    """Return the `eligible` users who are not among a model's `users`, with current traits, clicks and purchases.

    Only the model's `items` count, and events of a device count for the user who owns it.
    """
    unknown = eligible[index_of(users, eligible) < 0]
    if not len(unknown):
        return NewUsers.of(_NO_USERS, _NO_CLICKS, items)
    traits = reference.users.take(np.flatnonzero(index_of(unknown, reference.users[columns.USER_KEY]) >= 0))
    return NewUsers.of(traits, _clicks(installation, reference, traits.select([columns.USER_KEY])), items)


def _clicks(installation: Installation, reference: ReferenceData, users: pa.Table) -> pa.Table:
    """Return `user_key` and `item_id` of all events of interest in an item in order of time, without refunded ones."""
    with shared_event_engine(installation, reference) as engine:
        if engine is None:
            return _NO_CLICKS
        engine.connection.register("new_users", users)
        engine.match_refunds()
        return engine.query(_CLICKS, interest=_INTEREST).to_arrow_table()
