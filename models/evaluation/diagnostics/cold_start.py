"""Newcomers in the held-out weeks: training data that stand for users or items without any history."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from models.columns import USER_KEY
from models.datasets.training_data import TrainingData
from models.primitives.vocabulary import words


def cold_start_data(data: TrainingData, traits: pa.Table) -> TrainingData:
    """The same moment and items, with the users of `traits` (`user_key` and traits), who have no history."""
    ordered = traits.sort_by(USER_KEY)
    return replace(
        data, users=words(ordered[USER_KEY]), user_tags=data.user_tag_rules.encode(ordered), **_without_events()
    )


def _without_events() -> dict[str, Any]:
    empty = {"user": np.int32, "item": np.int32, "occurred_at": np.int64, "basket": np.int32}
    return {name: np.empty(0, dtype=kind) for name, kind in empty.items()}
