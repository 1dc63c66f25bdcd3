"""Measures the users per second that the two-stage model ranks, each with some 200 candidates of a large catalogue.

Run as `python -m benchmarks.score.two_stage`.
"""

import time
from dataclasses import replace
from typing import Final

import numpy as np

from benchmarks.results import peak_mb, publish
from benchmarks.score.synthetic_two_stage import two_stage
from models.ranking.two_stage import TwoStage

CANDIDATES: Final = 200
_CHUNK: Final = 4096
_SEED: Final = 7
_PROBE: Final = 512


def two_stage_users_per_s(
    items: int = 100_000, users: int = 20_000, candidates: int = CANDIDATES, dims: int = 64, seed: int = _SEED
) -> float:
    """Measure the default ranker on all processors; each user has `candidates` or more on average."""
    model = with_candidates(two_stage(items, users, dims, candidates // 4, seed), candidates)
    all_users = np.arange(users, dtype=np.int32)
    model.ranked(all_users[:_PROBE])
    started = time.perf_counter()
    for start in range(0, users, _CHUNK):
        model.ranked(all_users[start : start + _CHUNK])
    return users / (time.perf_counter() - started)


def with_candidates(model: TwoStage, candidates: int) -> TwoStage:
    """Return the model, with retrievers that return enough candidates per user."""
    some = np.arange(min(len(model.users), _PROBE), dtype=np.int32)
    while len(model.candidates.find(some).row) < candidates * len(some):
        more = replace(model.candidates, per_retriever=model.candidates.per_retriever + 1)
        model = replace(model, candidates=more)
    return model


def main() -> None:
    """Measure, and store the figures."""
    figures = {"two_stage_users_per_s": two_stage_users_per_s(), "peak_mb": peak_mb()}
    publish("score_two_stage", figures, _SEED)


if __name__ == "__main__":
    main()
