"""Writes the bundle in `golden/` again, for a later format: `python -m tests.infra.golden_bundles`."""

import os
import shutil
from pathlib import Path
from typing import Final

import numpy as np

from infra.bundles import bundle as bundles
from infra.bundles.manifest import FORMAT, Origin
from models.datasets.dataset import Dataset
from models.ranking.two_stage import Config, TwoStage
from tests.models.conftest import CUT, CUTS, make_shop

FOLDER: Final = Path(__file__).parents[1] / "golden" / "bundles"
EXPECTED: Final = FOLDER / f"format_{FORMAT}.npz"
KEY: Final = "5a" * 32
PUBLIC_KEY: Final = "0d7550754e0800a5d237eef5826035766b9b3e5a15868a940ab289958788e3b0"
USERS: Final = np.array([0, 1, 2, -1], dtype=np.int32)


def main() -> None:
    """Arrays of every kind, and the trees in the library's own binary JSON."""
    data = Dataset(CUTS, *make_shop(seed=1, n_users=12)).training_data(CUT)
    model = TwoStage.fit(data, Config(trees=6, leaves=4, min_child_weight=1.0), seed=0)
    folder = FOLDER / f"format_{FORMAT}"
    shutil.rmtree(folder, ignore_errors=True)
    os.environ["TAILORBIRD_SECRET_SIGNING_KEY"] = KEY
    fallback = np.arange(len(model.items), dtype=np.float32)
    bundles.write(folder, model, fallback, Origin("golden", 0, "golden"))
    np.savez_compressed(EXPECTED, scores=model.scores(USERS))


if __name__ == "__main__":
    main()
