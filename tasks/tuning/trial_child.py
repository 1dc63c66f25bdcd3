"""A process of its own that fits and measures settings: one that takes all memory or crashes ends nothing else.

Run as `python -m tasks.tuning.trial_child VERSION`. Requests come in and answers go out as JSON, one a line.
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
from typing import Any, Final, TextIO

import numpy as np

from infra import outages
from models import catalog
from models.datasets.dataset import Dataset
from models.recommenders.protocols import Recommender
from models.tuning.folds import FoldData, artifact_mb, search_folds
from tasks.datasets.load_dataset import open_dataset

FITTING: Final = {"at": "fit"}
FITTED: Final = {"at": "measure"}
"""Said when a fit begins and ends. The answer comes after them, or instead."""
_LOOKED_AT: Final = 64
Request = dict[str, Any]


def _requests() -> Iterator[Request]:
    lines: SimpleQueue[Request] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(json.loads(line))
        os._exit(0)  # nobody asks any more: the search has ended or was killed, and this process with it

    Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()


def _say(answers: TextIO, said: Any) -> None:
    answers.write(json.dumps(said) + "\n")
    answers.flush()


def _measure(dataset: Dataset, folds: dict[int, FoldData], request: Request, answers: TextIO) -> dict[str, float]:
    kind, place = request["kind"], request["fold"]
    every = search_folds(dataset, request["folds"])
    if place not in folds:
        folds[place] = FoldData.of(dataset, every[place])
        if request["warm"]:  # what all settings share is no setting's fault: it is worked out before the clock runs
            _fit(folds[place], kind, {}, request["seed"])
    fold = folds[place]
    _say(answers, FITTING)
    started = monotonic()
    model = _fit(fold, kind, request["settings"], request["seed"])
    fit_seconds = monotonic() - started
    _say(answers, FITTED)
    _check(model)
    figures = fold.figures(model)
    if not np.isfinite([*figures.values()]).all():
        raise ValueError(f"its figures are no numbers: {figures}")
    seconds = {"fit_seconds": fit_seconds, "measure_seconds": monotonic() - started - fit_seconds}
    return figures | seconds | {"artifact_mb": artifact_mb(model), "folds": len(every)}


def _fit(fold: FoldData, kind: str, settings: Mapping[str, Any], seed: int) -> Recommender:
    return catalog.model_type(kind).fit(fold.data, catalog.config(kind, settings), seed)


def _check(model: Recommender) -> None:
    """Scores that are no numbers can be ranked; but whatever comes of it says nothing."""
    trial_settings = np.arange(min(_LOOKED_AT, len(model.users)), dtype=np.int32)
    if np.isnan(model.scores(trial_settings)).any():
        raise ValueError("it diverged: some scores are NaN")


def main() -> None:
    """Answer until nobody asks."""
    with suppress(OSError):  # where the system runs out of memory, this process is the one to end
        Path("/proc/self/oom_score_adj").write_text("1000")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    folds: dict[int, FoldData] = {}
    for request in _requests():
        try:
            found: dict[str, Any] = _measure(open_dataset(sys.argv[1]), folds, request, answers)
        except Exception as error:
            outage = outages.explain(error)
            found = {"outage": outage} if outage else {"error": f"{type(error).__name__}: {error}"}
        _say(answers, found)


if __name__ == "__main__":
    main()
