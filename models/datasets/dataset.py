"""Open a version of the data: training data and features at any moment, and the events that followed."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import duckdb
import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from models import columns
from models.columns import PURCHASE, REFUNDED_AT
from models.datasets.known_attributes import NO_HISTORY, as_known
from models.datasets.time_splits import Cuts
from models.datasets.training_data import T, TrainingData, build, item_ids, targets
from models.features.planned_queries import TEMPORARY, Queries, columns_of, plan
from models.features.tables.registry import TABLES, FeatureTables
from models.primitives.arrow_sql import engine, executed, query
from models.primitives.time import DAY

USER_TAGS: Final = ("recency_days", "frequency", "monetary")
"""Features that become tags of a user besides the traits; the tags of an item are its category and brand."""
ACTS: Final = "sequences"
"""The table of the latest events of each user, whatever their type."""
_ITEM_TAGS: Final = (columns.CATEGORY, columns.BRAND)
_INPUT_TABLES: Final = (
    # Data sets of earlier formats do not record refunds.
    f"""CREATE TEMP TABLE events AS SELECT *, '{PURCHASE}' AS event_type FROM (
        SELECT NULL::BIGINT AS {REFUNDED_AT} WHERE false UNION ALL BY NAME SELECT * FROM purchases)""",
    "CREATE TEMP TABLE items AS SELECT item_id, category, brand, price, available FROM catalogue",
)


def feature_tables(purchases: pa.Table, items: pa.Table, now: int) -> FeatureTables:
    """Return the tables of the registry at `now` (epoch s), from purchases and the catalogue alone.

    Features of views and carts have the values of a shop without any.
    """
    plans = [queries.at(now) for queries in _plans(purchases.schema, items.schema)]
    with engine().cursor() as connection:
        _load(connection, purchases, items)
        for name, query in dict(chain.from_iterable(queries.stored for queries in plans)).items():
            connection.execute(f'CREATE TEMP TABLE "{name}" AS {query}')
        results = (executed(connection, queries.table, len(purchases)) for queries in plans)
        return FeatureTables(*(result.to_arrow_table() for result in results))


@lru_cache(maxsize=32)
def _plans(purchases: pa.Schema, items: pa.Schema) -> tuple[Queries, ...]:
    """Return the plans of the tables of the registry, in their order, for tables of these columns."""
    with engine().cursor() as connection:
        _load(connection, purchases.empty_table(), items.empty_table())
        columns = [columns_of(nw.from_native(connection.table(name))) for name in ("events", "items")]
    return tuple(plan(table.build, *columns, catalogue="items", schema=TEMPORARY) for table in TABLES.values())


def _load(connection: duckdb.DuckDBPyConnection, purchases: pa.Table, items: pa.Table) -> None:
    connection.register("purchases", purchases)
    connection.register("catalogue", items)
    for statement in _INPUT_TABLES:
        connection.execute(statement)


def _not_stored(_name: str, _cut: int) -> None:
    """Return None: no table is stored."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Purchases, users and items in memory."""

    manifest: Mapping[str, Any]
    interactions: pa.Table
    users: pa.Table
    items: pa.Table
    item_history: pa.Table = field(default_factory=lambda: NO_HISTORY)
    user_history: pa.Table = field(default_factory=lambda: NO_HISTORY)
    """Values that changed, as `models.datasets.known_attributes.as_known` reads them."""
    stored: Callable[[str, int], pa.Table | None] = _not_stored
    """Returns a feature table, by its name in `TABLES`, as stored for a cut; None for other moments."""
    _opened: dict[tuple[str, int], pa.Table] = field(default_factory=dict, init=False)
    _cached: dict[Hashable, Any] = field(default_factory=dict, init=False)

    @property
    def version(self) -> str:
        """Return the name of the data set."""
        return str(self.manifest["version"])

    @property
    def cuts(self) -> Cuts:
        """Return its cuts."""
        return Cuts(*(self.manifest[name] for name in ("validation_from", "test_from", "as_of")))

    def features(self, cut: int) -> FeatureTables:
        """Return the features at a moment: the stored ones, or else computed from the purchases."""
        return FeatureTables(*(self._table(name, cut) for name in TABLES))

    def traits(self, cut: int) -> pa.Table:
        """Return `user_key` and the traits known at a moment (epoch s), one row per user."""
        return as_known(self.users, columns.USER_KEY, self.user_history, cut)

    def acts(self, cut: int) -> pa.Table | None:
        """Return the latest events of each user (`models.features.tables.user_features.sequences`) as stored for a cut.

        None for other moments.
        """
        return self.stored(ACTS, cut)

    def catalogue(self, cut: int) -> pa.Table:
        """Return the items as they were known at a moment (epoch s)."""
        return as_known(self.items, columns.ITEM_ID, self.item_history, cut)

    def _table(self, name: str, cut: int) -> pa.Table:
        """Return one table; the others are not read, because the pairs are many and few models need them."""
        if (name, cut) not in self._opened:
            rows = self.stored(name, cut)
            tables = {name: rows}
            if rows is None:
                tables = feature_tables(self.interactions, self.catalogue(cut), cut).by_name()
            self._opened.update({(table, cut): rows for table, rows in tables.items()})
        return self._opened[name, cut]

    def once(self, key: Hashable, work: Callable[[], T], store: bool = True) -> T:
        """Return the result of `work` for this key, computed once and kept as long as the data set is open."""
        result: T = self._cached[key] if key in self._cached else work()
        if store:
            self._cached[key] = result
        return result

    def before(self, cut: int, days: int) -> int:
        """Return the latest cut of the data set before this one, whose features are stored, else `days` earlier."""
        return max((own for own in self.cuts.all() if own < cut), default=cut - days * DAY)

    def training_data(self, cut: int) -> TrainingData:
        """Return everything known before a moment (epoch s). Raises NoHistoryError without any history."""
        user_features, item_features = (self._table(name, cut) for name in ("user_features", "item_features"))
        traits = [name for name in self.users.column_names if name != columns.USER_KEY]
        users = _joined(self.traits(cut), user_features, columns.USER_KEY)
        items = _joined(self.catalogue(cut), item_features, columns.ITEM_ID)
        return build(self.interactions, users, items, cut, (*traits, *USER_TAGS), _ITEM_TAGS, origin=self)

    def item_ids(self, cut: int) -> NDArray[np.str_]:
        """Return the items of `training_data` ([n_items]) in a fraction of its time. Raises NoHistoryError."""
        return item_ids(self.interactions, self.items, cut)

    def holdout(self, data: TrainingData, end: int) -> sparse.csr_array:
        """Return what the users of `data` bought from its cut up to `end`: boolean CSR, users x items."""
        return targets(self.interactions, data, data.cut, end)


def _joined(rows: pa.Table, features: pa.Table, key: str) -> pa.Table:
    return query(f"SELECT * FROM rows LEFT JOIN known USING ({key}) ORDER BY {key}", rows=rows, known=features)
