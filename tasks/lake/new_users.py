"""What is known of people whom a model has not learned from: their traits, and what they did."""

from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.installation import Installation
from models import columns
from models.datasets.cold_start import NewUsers
from models.features.tables.session_features import ENGAGEMENT
from models.primitives.vocabulary import index_of
from tasks.lake.event_sql import OWNER, SAID
from tasks.lake.reference_data import ReferenceData

_INTEREST: Final = [name for _, names in ENGAGEMENT for name in names]
_NOTHING: Final = pa.Table.from_batches([], pa.schema({columns.USER_KEY: pa.string(), columns.ITEM_ID: pa.string()}))
_NOBODY: Final = _NOTHING.select([columns.USER_KEY])
_CLICKS: Final = f"""
    SELECT newcomers.user_key, said.item_id
    FROM {SAID}
    JOIN newcomers ON newcomers.user_key = {OWNER}
    WHERE list_contains($interest, said.{columns.EVENT_TYPE})
    ORDER BY ALL
"""


def newcomers(
    installation: Installation,
    known: ReferenceData,
    eligible: NDArray[np.str_],
    users: NDArray[np.str_],
    items: NDArray[np.str_],
) -> NewUsers:
    """Those of the `eligible` users who are not among a model's `users`: traits as they stand, and all they clicked or
    bought of its `items`, under the id of a device too if it turned out to be theirs."""
    strangers = eligible[index_of(users, eligible) < 0]
    if not len(strangers):
        return NewUsers.of(_NOBODY, _NOTHING, items)
    traits = known.users.take(np.flatnonzero(index_of(strangers, known.users[columns.USER_KEY]) >= 0))
    return NewUsers.of(traits, _clicks(installation, known, traits.select([columns.USER_KEY])), items)


def _clicks(installation: Installation, known: ReferenceData, strangers: pa.Table) -> pa.Table:
    """`user_key` and `item_id` of every sign of interest in an item, whenever it came."""
    files = installation.lake.event_files()
    if not files:
        return _NOTHING
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{installation.settings.memory}'")
        known.register(connection)
        connection.register("newcomers", strangers)
        return connection.sql(_CLICKS, params={"files": files, "interest": _INTEREST}).to_arrow_table()
