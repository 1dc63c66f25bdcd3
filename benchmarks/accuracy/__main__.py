"""Accuracy of the models on a file of interactions: whole catalogue, what a user has had masked.

Settings are chosen on a validation inside the minutes given, and the models then fitted on all that comes before
the test. Each step of each model is a process of its own, so that its peak memory is its alone. Run as
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
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.accuracy.splits import split
from benchmarks.accuracy.tuning import measured, search
from benchmarks.results import machine, peak_mb
from models import catalog
from models.errors import TailorbirdError

MODELS: Final = ("most_popular", "als", "item_knn", "graph_filter")
"""Those that learn from interactions alone and say more than what is masked."""

_COLUMNS: Final = ("hr_10", "recall_10", "ndcg_10", "hr_20", "recall_20", "ndcg_20")


def _step(asked: argparse.Namespace) -> dict[str, Any]:
    """Search or measure the one model named, in this process."""
    kind = asked.models[0]
    if asked.step == "search":
        return asdict(
            search(kind, asked.layout, split(asked.layout, "validation", asked.path, asked.test), asked.minutes)
        )
    figures = measured(kind, json.loads(asked.settings), split(asked.layout, "test", asked.path, asked.test))
    return figures | {"peak_mb": peak_mb()}


def _run(asked: argparse.Namespace, kind: str, step: str, *more: str) -> dict[str, Any]:
    """One step in a process of its own; what it complains of is complained of here."""
    command = [sys.executable, "-m", "benchmarks.accuracy", "--path", str(asked.path), "--layout", asked.layout]
    command += ["--test", str(asked.test)] if asked.test else []
    done = subprocess.run([*command, "--models", kind, "--step", step, *more], stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
    if done.returncode or not told:
        raise TailorbirdError(f"{kind}, {step}: {told.get('error', f'ended with code {done.returncode}.')}")
    return told


def _compare(asked: argparse.Namespace) -> list[dict[str, Any]]:
    console = Console()
    catalogued = [kind for kind in asked.models if catalog.model_type(kind).space]
    rows = []
    for kind in asked.models:
        minutes = asked.minutes / max(1, len(catalogued))
        found = _run(asked, kind, "search", "--minutes", str(minutes))
        chosen = ", ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in found["settings"].items()
        )
        console.print(
            f"{kind}: {found['value']:.4f} on the validation, best of {found['trials']}: {chosen}", soft_wrap=True
        )
        figures = _run(asked, kind, "measure", "--settings", json.dumps(found["settings"]))
        rows.append({"model": kind, **figures, "settings": found["settings"]})
    return rows


def _show(rows: list[dict[str, Any]], title: str) -> None:
    table = Table(title=title, title_justify="left")
    for name in ("model", *_COLUMNS, "fit_s", "peak_mb"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for row in rows:
        figures = [f"{row[name]:.4f}" for name in _COLUMNS]
        table.add_row(row["model"], *figures, f"{row['fit_s']:.1f}", f"{row['peak_mb']:,.0f}")
    Console(width=max(Console().width, 110)).print(table)


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
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
    """Compare the models, or (for the processes that this starts) take one step of one of them."""
    asked = _asked(arguments)
    try:
        for kind in asked.models:
            catalog.model_type(kind)
        if asked.step:
            print(json.dumps(_step(asked)))
            return 0
        rows = _compare(asked)
    except TailorbirdError as error:
        print(json.dumps({"error": str(error)}) if asked.step else error, file=sys.stdout if asked.step else sys.stderr)
        return 1
    _show(rows, f"accuracy on {asked.path.name}, {machine()}")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
