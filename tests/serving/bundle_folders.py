"""Bundle folders for tests of models and live lists, without a database."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from infra.bundles import bundle as bundles
from models import catalog
from models.datasets.dataset import Dataset
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from models.recommenders.explanations.recent_buyers import recent_buyers
from tests.models.conftest import CUT, CUTS, make_shop

SETTINGS: Final[dict[str, dict[str, Any]]] = {"als": {"factors": 8, "regularization": 0.1}}
"""Settings that learn something from few users."""


def write_bundle(folder: Path, kind: str = "als", seed: int = 1, change: Any = None, users: int = 30) -> str:
    """Write a champion of the small shop, after `change` has changed its model; return its digest."""
    data = Dataset(CUTS, *make_shop(seed=seed, n_users=users)).training_data(CUT)
    model: Any = catalog.model_type(kind).fit(data, catalog.config(kind, SETTINGS.get(kind)), 7)
    if change is not None:
        model = change(model)
    return bundles.write(
        folder,
        model,
        popularity(data),
        bundles.Origin("v1", 7, f"run {seed}"),
        SegmentPopular.fit(data, BY_TRAITS, 7),
        available=np.asarray(data.available, dtype=np.bool_),
        buyers=recent_buyers(data),
    )
