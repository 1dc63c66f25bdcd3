"""Runs Evidently on the windows of a stream, in an environment of its own."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from benchmarks.drift.base_shop import Shop, goods
from benchmarks.drift.detection_metrics import Alarms
from benchmarks.drift.evidently_tables import Tables
from benchmarks.drift.streams import Stream, joined
from benchmarks.results import FOLDER
from models.monitoring.drift.signals.event_columns import Events

_NEEDS: Final = ("evidently==0.7.23", "pandas<3")
_HOME: Final = FOLDER.absolute() / "evidently"
_SCRIPT: Final = Path(__file__).with_name("evidently_script.py")


@dataclass(frozen=True)
class Verdicts:
    """Evidently's answers about consecutive windows."""

    columns: Sequence[Sequence[str]]
    """By window, the drifted columns."""
    dataset: Alarms
    """[windows] whether a whole table drifted, by Evidently's own rule."""

    @property
    def alarms(self) -> Alarms:
        """[windows] whether any column drifted."""
        return np.array([bool(names) for names in self.columns])


def installed() -> None:
    """Return whether the environment exists."""
    python = _HOME / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", _HOME], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *_NEEDS], check=True)


def verdicts(shop: Shop, stream: Stream, known: range, courses: Mapping[str, Sequence[Events]]) -> dict[str, Verdicts]:
    """Return Evidently's answers about each course of windows, compared with the known days."""
    random = np.random.default_rng(stream.seed)
    reference = [stream.days[day] for day in known]
    tables = Tables.against(joined(reference), goods(shop))
    with tempfile.TemporaryDirectory(dir=_HOME) as name:
        folder = Path(name)
        _write(folder / "reference", 0, tables, reference, random)
        for course, days in courses.items():
            for window, day in enumerate(days):
                _write(folder / course, window, tables, [day], random)
        command = [str(_HOME / "bin" / "python"), "-W", "ignore", str(_SCRIPT), str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    payload = json.loads(done.stdout.splitlines()[-1])
    return {course: _verdicts(windows) for course, windows in payload.items()}


def _verdicts(windows: Sequence[Mapping[str, Sequence[str]]]) -> Verdicts:
    return Verdicts([one["columns"] for one in windows], np.array([bool(one["dataset"]) for one in windows]))


def _write(folder: Path, window: int, tables: Tables, days: list[Events], random: np.random.Generator) -> None:
    folder.mkdir(exist_ok=True)
    pq.write_table(tables.events(joined(days), random), folder / f"{window}.events.parquet")
    pq.write_table(tables.users(days, random), folder / f"{window}.users.parquet")
