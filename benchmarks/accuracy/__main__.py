"""Measures the accuracy of the models on a file of interactions, over the whole catalogue, without known items.

Settings are chosen on a validation split within the given minutes. The models are then fitted on everything before the
test, and the last named one is compared with the others, user by user. Each step of each model runs in a process of
its own, which shows its peak memory. Run as
`python -m benchmarks.accuracy --path FILE --layout sequences`, with lines `user item` or `user item item …` in order,
or `python -m benchmarks.accuracy --path TRAIN --test TEST --layout pairs`, where a file may be a SciPy matrix (.npz).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.accuracy.splits import SEED, split
from benchmarks.accuracy.tuning import OF_USERS, SearchedSettings, measured, parser, search_on
from benchmarks.results import machine, peak_mb, run_apart, show
from models import catalog
from models.errors import TailorbirdError
from models.evaluation.metrics.bootstrap import interval
from models.primitives.json_types import JsonObject

MODELS: Final = ("most_popular", "als", "item_knn", "graph_filter")
"""Models that need only interactions, and can rank items beyond the masked ones."""

_COLUMNS: Final = ("hr_10", "recall_10", "ndcg_10", "hr_20", "recall_20", "ndcg_20")


def _step(options: argparse.Namespace) -> JsonObject:
    """Search settings of the named model, or measure it, in this process."""
    [kind], layout = options.models, options.layout
    if options.step == "search":
        validation = split(layout, "validation", options.path, options.test)
        return search_on(kind, layout, validation, options.minutes)._asdict()
    figures = measured(kind, json.loads(options.settings), split(layout, "test", options.path, options.test))
    return figures | {"peak_mb": peak_mb()}


def _run(options: argparse.Namespace, kind: str, step: str, *more: str) -> JsonObject:
    """Run one step in a process of its own."""
    words = ["--path", str(options.path), "--layout", options.layout, "--models", kind, "--step", step, *more]
    words += ["--test", str(options.test)] if options.test else []
    return run_apart("benchmarks.accuracy", *words)


def _compare(options: argparse.Namespace) -> list[JsonObject]:
    console = Console()
    catalogued = [kind for kind in options.models if catalog.model_type(kind).space]
    rows, of_users = [], dict[str, NDArray[np.float64]]()
    for kind in options.models:
        minutes = options.minutes / max(1, len(catalogued))
        found = SearchedSettings(**_run(options, kind, "search", "--minutes", str(minutes)))
        console.print(f"{kind}: {found}", soft_wrap=True)
        figures = _run(options, kind, "measure", "--settings", json.dumps(found.settings))
        of_users[kind] = np.array(figures.pop(OF_USERS))
        rows.append({"model": kind, **figures, "settings": found.settings})
    shown = (
        [row["model"], *(f"{row[name]:.4f}" for name in _COLUMNS), f"{row['fit_s']:.1f}", f"{row['peak_mb']:,.0f}"]
        for row in rows
    )
    show(f"accuracy on {options.path.name}, {machine()}", ("model", *_COLUMNS, "fit_s", "peak_mb"), shown)
    last = options.models[-1]
    for kind in options.models[:-1]:
        gain = of_users[last] - of_users[kind]
        low, high = interval(gain, SEED)
        gained = f"{gain.mean():+.4f} ({low:+.4f} to {high:+.4f}, user by user)"
        console.print(f"NDCG@10 of {last} over {kind}: {gained}", soft_wrap=True)
    return rows


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__, MODELS)
    made.add_argument(
        "--path", type=Path, required=True, help="the file; for pairs train, or a folder of train* and test*"
    )
    made.add_argument("--layout", choices=("sequences", "pairs"), required=True)
    made.add_argument("--test", type=Path, help="for pairs")
    made.add_argument("--step", choices=("search", "measure"), help=argparse.SUPPRESS)
    made.add_argument("--settings", default="{}", help=argparse.SUPPRESS)
    return made.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the models, or (in the processes that this starts) run one step of one model."""
    options = _parse_arguments(arguments)
    try:
        for kind in options.models:
            catalog.model_type(kind)
        if options.step:
            print(json.dumps(_step(options)))
            return 0
        rows = _compare(options)
    except TailorbirdError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
