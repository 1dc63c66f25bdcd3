"""Checks cancellations that name orders: some of the table, some of earlier years, and some name none."""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from benchmarks.foreign_shop.files import write_export
from benchmarks.foreign_shop.history import net_purchases, of_customers, tidy
from benchmarks.installation import CommandFailedError, Shop

_MAPPING: Final = Path(__file__).parents[2] / "tasks" / "sources" / "mappings" / "wholesale.toml"
_KEY: Final = 'session_id = "InvoiceNo"\n'


def with_orders(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Return the rows with the order that each cancellation names as `ReturnOf`: one of the table, another, or none."""
    known = of_customers(tidy(rows)).reset_index(names="row")
    cancelled = known["InvoiceNo"].str.startswith("C")
    pairs = known[cancelled].merge(known[~cancelled], on=["user", "StockCode"], suffixes=("", "_sale"))
    pairs = pairs[pairs["InvoiceDate_sale"] <= pairs["InvoiceDate"]].sample(frac=1, random_state=random)
    order = pairs.drop_duplicates("row").set_index("row")["InvoiceNo_sale"].reindex(rows.index)
    order = order.mask(random.random(len(rows)) < 0.3)
    is_cancelled = rows["InvoiceNo"].str.startswith("C") & rows["CustomerID"].notna()
    old = is_cancelled & order.isna() & (random.random(len(rows)) < 0.5)
    named = order.mask(old, "4" + rows["InvoiceNo"].str[1:])
    # A line that an invoice repeats names the same order.
    return rows.assign(ReturnOf=named.groupby([rows["InvoiceNo"], tidy(rows)["StockCode"]]).transform("first"))


def figures(shop: Shop, rows: pd.DataFrame, services: frozenset[str], folder: Path, consent: tuple[str, ...]) -> float:
    """Return by how many purchases a data set of such a table differs from a recount of those that were kept."""
    mapping = folder / "returns.toml"
    mapping.write_text(_MAPPING.read_text().replace(_KEY, f'{_KEY}refund_order = "ReturnOf"\n'))
    try:
        shop.run("ingest", str(mapping), str(write_export(rows, folder, "returns.parquet")), *consent)
    except CommandFailedError as error:
        print(error)
        return float(len(rows))
    shop.run("features")
    stored = shop.interactions()
    kept, _ = net_purchases(tidy(rows), services, pd.Timestamp.max)
    counted = {(one.item, one.invoice) for one in kept}
    found = set(stored.loc[stored["refunded_at"].isna(), ["item_id", "session_id"]].itertuples(index=False, name=None))
    for item, order in sorted(counted ^ found)[:5]:
        print(f"{item} of {order} is {'kept' if (item, order) in counted else 'taken back'} by the rows")
    return float(len(counted ^ found))
