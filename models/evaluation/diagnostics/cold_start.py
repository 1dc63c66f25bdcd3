"""Builds data without events for users who have no history."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from models.columns import USER_KEY
from models.datasets.training_data import TrainingData
from models.primitives.vocabulary import words


def cold_start_data(data: TrainingData, traits: pa.Table) -> TrainingData:
    """Return the same data with the users of `traits` (`user_key` and traits) in place of its users, without events."""
    ordered = traits.sort_by(USER_KEY)
    return replace(
        data,
        users=words(ordered[USER_KEY]),
        user_tags=data.user_tag_rules.encode(ordered),
        user=np.empty(0, dtype=np.int32),
        item=np.empty(0, dtype=np.int32),
        occurred_at=np.empty(0, dtype=np.int64),
        basket=np.empty(0, dtype=np.int32),
    )
