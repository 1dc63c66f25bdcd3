"""Measures what views and carts add to the sequence model, on a simulated shop with a clickstream.

The same shop is learned from with purchases only, and with all acts. The lists are measured on the purchases of the
next weeks. Run as `python -m benchmarks.sequence.acts`; it needs the extra `sequence`.
"""

from dataclasses import replace
from typing import Final

import duckdb
import narwhals as nw
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from benchmarks.results import gained, publish
from benchmarks.shop.clickstream import clickstream
from models import columns
from models.datasets.dataset import ACTS, Dataset
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation, evaluate
from models.features.tables.sequences import sequences
from models.primitives.time import DAY
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.sequence.config import Config
from models.recommenders.sequence.model import SequenceModel

SEED: Final = 7
_MEASURED_DAYS: Final = 21
_FLAT: Final = f"""
    SELECT user_id AS {columns.USER_KEY}, item_id, event_type, session_id, quantity, value,
        epoch(occurred_at)::BIGINT AS occurred_at, epoch(received_at)::BIGINT AS received_at
    FROM events
"""


def shop() -> tuple[Dataset, int, int]:
    """Return the data set of a simulated shop, the cut and the end of the measured weeks (epoch s)."""
    stream = clickstream(users=3_000, items=600, sessions=8_000, seed=SEED, purchases=30_000)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", stream.events)
        events = connection.sql(_FLAT).to_arrow_table()
        end = pc.max(events[columns.OCCURRED_AT]).as_py() + 1
        cut = end - _MEASURED_DAYS * DAY
        connection.register("flat", events)
        refunds = connection.sql("SELECT *, NULL::BIGINT AS refunded_at FROM flat")
        acts = sequences(nw.from_native(refunds), cut).collect("pyarrow").to_arrow()
    bought = events.filter(pc.equal(events[columns.EVENT_TYPE], columns.PURCHASE)).drop_columns([columns.EVENT_TYPE])
    users = pa.table({columns.USER_KEY: pc.unique(events[columns.USER_KEY])})
    available = pa.array([True] * len(stream.items))
    items = stream.items.append_column(columns.AVAILABLE, available)
    manifest = {"version": "clickstream", "validation_from": cut, "test_from": cut, "as_of": end}
    manifest["rows"] = {ACTS: len(acts)}
    return Dataset(manifest, bought, users, items, stored=lambda name, _: acts if name == ACTS else None), cut, end


def main() -> None:
    """Measure, and write the figures to var/benchmarks.sequence.acts.json."""
    dataset, cut, end = shop()
    data = dataset.training_data(cut)
    targets, popular = dataset.holdout(data, end), popularity(data)

    def measured(acts: bool) -> Evaluation:
        config = replace(Config(), blocks=1, learning_rate=0.003, repeats=False, horizon_days=0.0)
        known = data if acts else replace(data, origin=None)
        return evaluate(SequenceModel.fit(known, config, SEED), data, targets, popular)

    alone, together = measured(acts=False), measured(acts=True)
    table = Table("histories", "NDCG@10", "gain (95 %)", title="Views and carts")
    table.add_row("purchases", f"{alone.summary[METRIC]:.4f}", "")
    table.add_row("all acts", f"{together.summary[METRIC]:.4f}", gained(together, alone, METRIC, SEED))
    Console().print(table)
    figures = {"purchases only": alone, "all acts": together}
    publish("acts", {f"{name}: {METRIC}": one.summary[METRIC] for name, one in figures.items()}, SEED)


if __name__ == "__main__":
    main()
