"""Measures the serving cost of a model: the time of a list, and its size."""

from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics.user_averages import HIGH, LOW
from models.lists.list_builder import USERS_AT_ONCE, ListBuilder
from models.lists.recommendation_lists import Lists
from models.primitives.threads import one_thread
from tasks.scoring.publish_batch import TextCodes

K: Final = 20
"""Length of the lists, as at the placement `home`."""
_ROUNDS: Final = 7
"""The range of seven times contains the median with a probability of 98 %: 1 - 2 / 2 ** 7."""


def measure_costs(builder: ListBuilder, folder: Path) -> dict[str, float]:
    """Return `score_ms`, the milliseconds of one thread per list, with its interval, and `artifact_mb` of `folder`.

    The code of batch scoring makes the lists of one chunk of users, with candidates, rules, fallbacks and reasons. The
    first round loads libraries and fills caches, and does not count.
    """
    keys = _sample_users(builder)
    with one_thread():
        spent = [_seconds(builder, keys) for _ in range(1 + _ROUNDS)][1:]
    per_list = 1000 / max(1, len(keys))
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "score_ms": median(spent) * per_list,
        f"score_ms{LOW}": min(spent) * per_list,
        f"score_ms{HIGH}": max(spent) * per_list,
        "artifact_mb": stored / 1e6,
    }


def make_lists(builder: ListBuilder, keys: NDArray[np.str_]) -> list[Lists]:
    """Make the lists of users (sorted keys) as `tasks.scoring.user_lists` does, with the codes of their reasons."""
    codes = TextCodes()
    return [ranked.coded(codes.codes) for ranked in builder.build(keys)]


def _sample_users(builder: ListBuilder) -> NDArray[np.str_]:
    """Return one chunk of the model's users, taken at equal distances."""
    users = builder.cascade.models[0].users
    return users[np.unique(np.linspace(0, len(users) - 1, USERS_AT_ONCE).astype(int))] if len(users) else users


def _seconds(builder: ListBuilder, keys: NDArray[np.str_]) -> float:
    began = perf_counter()
    make_lists(builder, keys)
    return perf_counter() - began
