"""Fixtures: purchases in the small shop in the 30 days after the cut, and popularity before it."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.datasets import training_data
from models.datasets.training_data import TrainingData
from models.recommenders.baselines import most_popular
from tests.models.conftest import DAY, Shop


@pytest.fixture(scope="session")
def targets(shop: Shop, data: TrainingData) -> Any:
    return training_data.targets(shop.interactions, data, data.cut, data.cut + 30 * DAY)


@pytest.fixture(scope="session")
def popularity(data: TrainingData) -> NDArray[np.float32]:
    return most_popular.popularity(data)
