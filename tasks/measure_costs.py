"""What a model costs those who serve it: the time of a list, and room."""

from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.answers import USERS_AT_ONCE
from models.ranking import top_k
from models.recommender import Recommender

_K: Final = 20


def measure_costs(model: Recommender, fallback: NDArray[np.float32], folder: Path) -> dict[str, float]:
    """`score_ms`, milliseconds per user of making lists as batch scoring does, and `artifact_mb`, the size of the
    stored model in `folder`."""
    users = np.arange(min(USERS_AT_ONCE, len(model.users)), dtype=np.int32)
    began = perf_counter()
    top_k(model.scores(users), _K, fallback=fallback)
    spent = perf_counter() - began
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {"score_ms": spent * 1000 / max(1, len(users)), "artifact_mb": stored / 1e6}
