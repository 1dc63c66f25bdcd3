"""Fits and measures settings in a process of its own, so that a crash or a lack of memory ends nothing else.

Run as `python -m tasks.tuning.trial_child VERSION`. Requests come in and answers go out as JSON, one per line.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Final, TextIO, TypedDict

import numpy as np

from infra import outages
from infra.installation import current
from models import catalog
from models.datasets.dataset import Dataset
from models.evaluation.cross_validation import FoldData, artifact_mb, search_folds
from models.primitives.json_types import JsonObject
from models.recommenders.protocols import Recommender
from tasks.datasets.load_dataset import open_dataset
from tasks.tuning.best_settings import with_sources

FITTING: Final = {"at": "fit"}
FITTED: Final = {"at": "measure"}
"""Messages at the beginning and end of a fit. The answer comes after them, or in their place."""
_CHECKED_USERS: Final = 64


class Request(TypedDict):
    """A setting to fit and measure on one fold."""

    kind: str
    settings: JsonObject
    seed: int
    folds: int
    """Number of folds."""
    fold: int
    warm: bool
    """Whether to fit once before the clock runs, because work shared by all settings is done in the first fit."""


def _requests() -> Iterator[Request]:
    lines: SimpleQueue[Request] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(json.loads(line))
        os._exit(0)  # the search has ended or was killed, so this process ends too

    Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()


def _send(answers: TextIO, message: Mapping[str, object]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _measure(
    dataset: Dataset, folds: dict[int, FoldData], shared: JsonObject, request: Request, answers: TextIO
) -> dict[str, float]:
    kind, place = request["kind"], request["fold"]
    all_folds = search_folds(dataset, request["folds"])
    if place not in folds:
        folds[place] = FoldData.of(dataset, all_folds[place])
        if request["warm"]:  # work shared by all settings counts for none of them
            catalog.fit(kind, folds[place].data, shared, request["seed"])
    fold = folds[place]
    _send(answers, FITTING)
    started = monotonic()
    model = catalog.fit(kind, fold.data, request["settings"] | shared, request["seed"])
    fit_seconds = monotonic() - started
    _send(answers, FITTED)
    _check(model)
    figures = fold.figures(model)
    if not np.isfinite([*figures.values()]).all():
        raise ValueError(f"its figures are no numbers: {figures}")
    seconds = {"fit_seconds": fit_seconds, "measure_seconds": monotonic() - started - fit_seconds}
    return figures | seconds | {"artifact_mb": artifact_mb(model), "folds": len(all_folds)}


def _check(model: Recommender) -> None:
    """Raise ValueError if scores are NaN, because their ranking would mean nothing."""
    users = np.arange(min(_CHECKED_USERS, len(model.users)), dtype=np.int32)
    if np.isnan(model.scores(users)).any():
        raise ValueError("it diverged: some scores are NaN")


def main() -> None:
    """Answer requests until the input ends."""
    with suppress(OSError):  # if memory runs out, the system ends this process first
        Path("/proc/self/oom_score_adj").write_text("1000")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with answers
    version = sys.argv[1]
    folds: dict[int, FoldData] = {}
    shared: JsonObject | None = None
    for request in _requests():
        try:
            if shared is None:  # the same for all trials, even if a search of a retriever ends meanwhile
                shared = with_sources(current(), version, request["kind"], {})
            answer: Mapping[str, object] = _measure(open_dataset(version), folds, shared, request, answers)
        except Exception as error:
            outage = outages.explain(error)
            answer = {"outage": outage} if outage else {"error": f"{type(error).__name__}: {error}"}
        _send(answers, answer)


if __name__ == "__main__":
    main()
