"""Bundle folders for tests of models and live lists, without a database."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Engine, insert

from infra.bundles import bundle as bundles
from infra.bundles.manifest import Origin
from infra.database.schema.schema import items, promotions
from models import catalog
from models.datasets.dataset import Dataset
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from models.recommenders.explanations.sentences import recent_buyers
from tests.models import trainable
from tests.models.conftest import CUT, CUTS, make_shop

SETTINGS: Final = trainable.SETTINGS | {"als": {"factors": 8, "regularization": 0.1}}
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
        Origin("v1", 7, f"run {seed}"),
        SegmentPopular.fit(data, BY_TRAITS, 7),
        available=np.asarray(data.available, dtype=np.bool_),
        buyers=recent_buyers(data),
    )


def promote(engine: Engine, folder: Path, digest: str, version: int, before: int = 0, kind: str = "als") -> None:
    """Make a bundle the champion, as `decide` records it; `before` is the promotion that it replaces."""
    row: dict[str, Any] = {"model_version": version, "kind": kind, "dataset_version": "v1", "metrics": {}}
    row |= {"actor": "ann", "reason": "better", "previous_promotion_id": before}
    with engine.begin() as connection:
        connection.execute(insert(promotions).values(row | {"bundle": str(folder), "digest": digest}))


def offer(engine: Engine, folder: Path, digest: str) -> list[str]:
    """Put the items of a bundle into the catalogue; return them."""
    names: list[str] = bundles.load(folder, digest).model.items.tolist()
    sold = [{"item_id": name, "attributes": {}, "available": True, "batch_id": "b"} for name in names]
    with engine.begin() as connection:
        connection.execute(insert(items), sold)
    return names
