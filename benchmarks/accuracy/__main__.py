"""Measures the accuracy of the models on a file of interactions, over the whole catalogue, without known items.

Settings are chosen on a validation split within the given minutes. The models are then fitted on everything before the
test, and the last named one is compared with the others, user by user. Each step of each model runs in a process of
its own, which shows its peak memory. Run as
`python -m benchmarks.accuracy --path FILE --layout sequences`, with lines `user item` or `user item item …` in order,
or `python -m benchmarks.accuracy --path TRAIN --test TEST --layout pairs`, where a file may be a SciPy matrix (.npz).
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy.splits import SEED, split
from benchmarks.accuracy.tuning import OF_USERS, measured, search
from benchmarks.results import machine, peak_mb
from models import catalog
from models.errors import TailorbirdError
from models.evaluation.metrics.bootstrap import interval
from models.primitives.json_types import JsonObject

MODELS: Final = ("most_popular", "als", "item_knn", "graph_filter")
"""Models that need only interactions, and can rank items beyond the masked ones."""

_COLUMNS: Final = ("hr_10", "recall_10", "ndcg_10", "hr_20", "recall_20", "ndcg_20")


def _step(options: argparse.Namespace) -> JsonObject:
    """Search settings of the named model, or measure it, in this process."""
    kind = options.models[0]
    if options.step == "search":
        return asdict(
            search(
                kind, options.layout, split(options.layout, "validation", options.path, options.test), options.minutes
            )
        )
    figures = measured(kind, json.loads(options.settings), split(options.layout, "test", options.path, options.test))
    return figures | {"peak_mb": peak_mb()}


def _run(options: argparse.Namespace, kind: str, step: str, *more: str) -> JsonObject:
    """Run one step in a process of its own, and print its errors."""
    command = [sys.executable, "-m", "benchmarks.accuracy", "--path", str(options.path), "--layout", options.layout]
    command += ["--test", str(options.test)] if options.test else []
    done = subprocess.run([*command, "--models", kind, "--step", step, *more], stdout=subprocess.PIPE, text=True)
    payload: JsonObject = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
    if done.returncode or not payload:
        raise TailorbirdError(f"{kind}, {step}: {payload.get('error', f'ended with code {done.returncode}.')}")
    return payload


def _compare(options: argparse.Namespace) -> list[JsonObject]:
    console = Console()
    catalogued = [kind for kind in options.models if catalog.model_type(kind).space]
    rows, of_users = [], dict[str, NDArray[np.float64]]()
    for kind in options.models:
        minutes = options.minutes / max(1, len(catalogued))
        settings = _run(options, kind, "search", "--minutes", str(minutes))
        chosen = ", ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in settings["settings"].items()
        )
        console.print(
            f"{kind}: {settings['value']:.4f} on the validation, best of {settings['trials']}: {chosen}", soft_wrap=True
        )
        figures = _run(options, kind, "measure", "--settings", json.dumps(settings["settings"]))
        of_users[kind] = np.array(figures.pop(OF_USERS))
        rows.append({"model": kind, **figures, "settings": settings["settings"]})
    _show(rows, f"accuracy on {options.path.name}, {machine()}")
    last = options.models[-1]
    for kind in options.models[:-1]:
        gain = of_users[last] - of_users[kind]
        low, high = interval(gain, SEED)
        gained = f"{gain.mean():+.4f} ({low:+.4f} to {high:+.4f}, user by user)"
        console.print(f"NDCG@10 of {last} over {kind}: {gained}", soft_wrap=True)
    return rows


def _show(rows: list[JsonObject], title: str) -> None:
    table = Table(title=title, title_justify="left")
    for name in ("model", *_COLUMNS, "fit_s", "peak_mb"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for row in rows:
        figures = [f"{row[name]:.4f}" for name in _COLUMNS]
        table.add_row(row["model"], *figures, f"{row['fit_s']:.1f}", f"{row['peak_mb']:,.0f}")
    Console(width=max(Console().width, 110)).print(table)


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--path", type=Path, required=True, help="the file; for pairs train, or a folder of train* and test*"
    )
    parser.add_argument("--layout", choices=("sequences", "pairs"), required=True)
    parser.add_argument("--test", type=Path, help="for pairs")
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS), help="names by comma")
    parser.add_argument("--minutes", type=float, default=10, help="for choosing settings, shared by the models")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--step", choices=("search", "measure"), help=argparse.SUPPRESS)
    parser.add_argument("--settings", default="{}", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


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
        print(
            json.dumps({"error": str(error)}) if options.step else error,
            file=sys.stdout if options.step else sys.stderr,
        )
        return 1
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
