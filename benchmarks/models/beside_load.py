"""Measures how much one busy process slows the fit and the lists of the two-stage model.

Each round measures the same work alone and beside a loop that keeps one core busy. The slowdown is the ratio of the two
times. On two cores, a fair share would be a slowdown of 1.3 to 2. Run as `python -m benchmarks.models --beside-load`.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from models import catalog
from models.columns import USER_KEY
from models.datasets.dataset import Dataset
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.rules.compiled_rules import CompiledRules
from models.recommenders.baselines.most_popular import popularity

KIND: Final = "two_stage"
_SETTINGS: Final = {"trees": 100, "label_windows": 1}
"""Settings with less work than the defaults, so that a round takes seconds; the work is of the same kind."""
_USERS: Final = 500
_K: Final = 20
_LISTS: Final = 3
"""Repetitions of making all lists, because one takes too little time."""
_BUSY: Final = (sys.executable, "-c", "while True: pass")


class Spent(NamedTuple):
    """Seconds of the clock, and of the processors."""

    wall: float
    processor: float


class Pair(NamedTuple):
    """The same work, undisturbed and beside the busy process."""

    undisturbed: Spent
    disturbed: Spent

    @property
    def slowdown(self) -> float:
        """The time beside the busy process relative to the undisturbed time."""
        return self.disturbed.wall / self.undisturbed.wall


def slowdowns(dataset: Dataset, rounds: int, seed: int) -> dict[str, float]:
    """Measure fit and lists, print a table, and return the figures."""
    sample = _sample(dataset)

    def learn() -> Any:
        # Without what an earlier round has worked out.
        data = replace(sample).training_data(sample.cuts.test_from)
        return lambda: catalog.model_type(KIND).fit(data, catalog.config(KIND, _SETTINGS), seed)

    model = learn()()
    fallback = popularity(sample.training_data(sample.cuts.test_from))
    rules = CompiledRules.plain(_K, np.ones(len(model.items), dtype=bool))
    answers = ListBuilder(build_cascade(model, None, fallback), fallback, rules)

    def make_lists() -> None:
        for _ in range(_LISTS):
            for _lists in answers.build(model.users):
                pass

    make_lists()
    pairs = {"fit": _pairs(learn, rounds), "score": _pairs(lambda: make_lists, rounds)}
    _show(pairs)
    return {name: value for work, measured in pairs.items() for name, value in _figures(work, measured).items()}


def _sample(dataset: Dataset) -> Dataset:
    """Return some of the users, with all their purchases."""
    keys = sorted(dataset.users[USER_KEY].to_pylist())
    some = pa.array([keys[at] for at in np.linspace(0, len(keys) - 1, _USERS).astype(int).tolist()])
    bought, users = (table.filter(pc.is_in(table[USER_KEY], some)) for table in (dataset.interactions, dataset.users))
    return Dataset(dataset.manifest, bought, users, dataset.items)


def _pairs(prepare: Callable[[], Callable[[], Any]], rounds: int) -> list[Pair]:
    pairs = []
    for _ in range(rounds):
        undisturbed = _spent(prepare())
        work = prepare()
        with _busy_process():
            pairs.append(Pair(undisturbed, _spent(work)))
    return pairs


def _spent(work: Callable[[], Any]) -> Spent:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - processor)


@contextmanager
def _busy_process() -> Iterator[None]:
    process = subprocess.Popen(_BUSY)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _figures(work: str, pairs: list[Pair]) -> dict[str, float]:
    slower = sorted(pair.slowdown for pair in pairs)
    return {
        f"{work}: slowdown_beside_load": median(slower),
        f"{work}: slowdown_beside_load_low": slower[0],
        f"{work}: slowdown_beside_load_high": slower[-1],
        f"{work}: alone_s": median(pair.undisturbed.wall for pair in pairs),
        f"{work}: beside_s": median(pair.disturbed.wall for pair in pairs),
        f"{work}: processor_alone_s": median(pair.undisturbed.processor for pair in pairs),
        f"{work}: processor_beside_s": median(pair.disturbed.processor for pair in pairs),
    }


def _show(pairs: dict[str, list[Pair]]) -> None:
    table = Table("work", "alone, s", "beside, s", "slowdown", title="Beside one busy process", title_justify="left")
    for work, measured in pairs.items():
        for pair in measured:
            table.add_row(work, f"{pair.undisturbed.wall:.2f}", f"{pair.disturbed.wall:.2f}", f"{pair.slowdown:.2f}")
    Console().print(table)
