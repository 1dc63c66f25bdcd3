"""Takes a wholesaler's dirty table to published lists without an override, and recounts the results.

Run as `python -m benchmarks.foreign_shop`; `--small` is the short form of every CI run. `--table FILE` takes your own
table with the same eight columns (CSV or Parquet). The exit code is 1 if a figure misses its target.
"""

import argparse
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from benchmarks.foreign_shop import history, later_weeks, lists_recount, returns
from benchmarks.foreign_shop.export import Export, export
from benchmarks.foreign_shop.files import read, write_export, write_renamed
from benchmarks.installation import Shop, opened_shop
from benchmarks.results import FOLDER, publish
from models.primitives.json_types import JsonObject

SEED: Final = 11
"""Seed of the simulated table. CI uses another one, so that nothing is tuned to either."""
SIZE: Final = (2_000, 1_500)
"""Items and customers."""
SMALL: Final = (500, 500)
RETURNS: Final = (200, 200)
"""Size of a second shop, whose cancellations name orders."""
CONSENT: Final = ("--consent", "given", "--consent-note", "nobody is asked: the customers are made up")
MONITOR: Final = '{"window_days": 7}'
"""The closed week is a window."""
ZERO: Final = (
    "ledger_difference",
    "reasons_false",
    "services_shown",
    "cancelled_shown",
    "junk_titles_shown",
    "stored_again_by_renaming",
    "prices_not_paid",
    "monitor_failed",
    "feeds_called_broken",
    "retrain_for_impressions",
    "kept_difference",
)
"""Figures that have to be 0."""


def main() -> None:
    """Measure, print and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--small", action="store_true", help="A shop of 500 items and 500 customers.")
    parser.add_argument("--table", type=Path, help="A table with the same columns, in place of the made-up one.")
    options = parser.parse_args()
    folder, name = (FOLDER / "foreign-shop").absolute(), "foreign-shop/var"
    folder.mkdir(parents=True, exist_ok=True)
    if options.table:
        rows = read(options.table)
        made = Export(rows, rows[:0], ())
    else:
        made = export(*(SMALL if options.small else SIZE), options.seed)
    started = time.perf_counter()
    with opened_shop(name, TAILORBIRD_MONITOR=MONITOR) as shop:
        figures = taken(shop, made.rows, folder, made.always_cancelled)
        if len(made.later):
            figures |= later_weeks.figures(shop, made, folder, CONSENT, options.seed)
    if len(made.later):
        random = np.random.default_rng(options.seed)
        with opened_shop(name) as shop:
            rows = returns.with_orders(export(*RETURNS, options.seed).rows, random)
            figures["kept_difference"] = returns.figures(shop, rows, history.services_of(rows), folder, CONSENT)
    figures["seconds"] = time.perf_counter() - started
    publish("foreign_shop-small" if options.small else "foreign_shop", figures, options.seed)
    missed = [name for name in ZERO if figures.get(name)] + [name for name in ("promoted",) if not figures[name]]
    if missed:
        sys.exit(f"Missed: {', '.join(missed)}. The examples are above.")


def taken(shop: Shop, rows: pd.DataFrame, folder: Path, always_cancelled: Collection[str]) -> dict[str, float]:
    """Take the table to published lists, and return the figures."""
    services = history.services_of(rows)
    first, renamed = write_export(rows, folder), write_renamed(rows, folder)
    entries = shop.run_json("ingest", "wholesale", str(first), *CONSENT)
    figures = history.ledger_differences(rows, entries, services)
    again = shop.run_json("ingest", "wholesale", str(renamed), *CONSENT)
    figures |= history.stored_again(again)
    shop.run("features")
    shop.run("train")
    figures |= _promoted(shop, shop.run_json("review"))
    shop.run("score")
    catalogue = shop.query("SELECT item_id, price FROM items WHERE available")
    figures["prices_not_paid"] = lists_recount.prices_not_paid(catalogue, rows)
    return figures | lists_recount.figures(shop.query, rows, services, always_cancelled)


def _promoted(shop: Shop, review: JsonObject) -> dict[str, float]:
    """Approve the reviewed version; return whether it became champion, and its gain."""
    for check in review["gate"]:
        print(f"{check['outcome']}: {check['name']}: {check['detail']}")
    over_own = next((check for check in review["gate"] if check["name"] == "not worse than own_frequency"), None)
    best = max(review["ladder"], key=lambda row: row["ndcg_at_10"])
    figures = {f"ndcg_{row['model']}": float(row["ndcg_at_10"]) for row in review["ladder"]}
    if over_own and best["model"] == "two_stage":
        names = {"two_stage_gain_over_own": "value", "gain_low": "low", "gain_high": "high"}
        figures |= {name: float(over_own[key]) for name, key in names.items()}
    version = str(review["model_version"])
    if review["status"] != "waits for a decision":
        return figures | {"promoted": 0.0}
    shop.run("decide", version, "--approve", "--reason", "the gate let it pass")
    return figures | {"promoted": 1.0}


if __name__ == "__main__":
    main()
