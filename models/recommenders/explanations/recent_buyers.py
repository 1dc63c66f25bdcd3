"""Counts the recent buyers of each item, which are the reason of popular items."""

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from models.primitives.distinct import distinct
from models.primitives.time import DAY
from models.recommenders.explanations.sentences import CUSTOMERS, POPULAR_DAYS, popular

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

_TOO_FEW: Final = 0


def recent_buyers(data: "TrainingData") -> NDArray[np.int32]:
    """Return [n_items] the different users who bought each item in the days before the cut that `popular` names."""
    late = data.occurred_at >= data.cut - POPULAR_DAYS * DAY
    width = max(1, len(data.users))
    pairs = distinct(data.item[late].astype(np.int64) * width + data.user[late])
    counted: NDArray[np.int32] = np.bincount(pairs // width, minlength=len(data.items)).astype(np.int32)
    return counted


def popular_codes(buyers: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[str]]:
    """Return [n_items] positions among the sentences, and the sentences."""
    different, code = np.unique(np.where(buyers >= CUSTOMERS, buyers, _TOO_FEW), return_inverse=True)
    return code.astype(np.int32), [popular(count) for count in different.tolist()]


def popular_reasons(buyers: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
    """Return one sentence for each of the items."""
    return [popular(count) for count in buyers[items].tolist()]
