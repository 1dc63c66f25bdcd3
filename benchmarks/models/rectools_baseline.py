"""RecTools' implicit ALS, run by `benchmarks.models` where it is installed: counts, k, seed, factors and rounds."""

import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse


def main() -> None:
    """Print the seconds of the fit and of the lists as JSON."""
    from implicit.als import AlternatingLeastSquares
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import ImplicitALSWrapperModel

    counts: Any = sparse.load_npz(sys.argv[1]).tocoo()
    k, seed, factors, rounds = map(int, sys.argv[2:6])
    rows = pd.DataFrame({Columns.User: counts.row, Columns.Item: counts.col, Columns.Weight: counts.data})
    dataset = Dataset.construct(rows.assign(**{Columns.Datetime: pd.Timestamp("2017-01-01")}))
    model = ImplicitALSWrapperModel(AlternatingLeastSquares(factors=factors, iterations=rounds, random_state=seed))
    started = time.perf_counter()
    model.fit(dataset)
    fitted = time.perf_counter()
    model.recommend(users=np.unique(counts.row), dataset=dataset, k=k, filter_viewed=False)
    print(json.dumps({"fit": fitted - started, "top_k": time.perf_counter() - fitted}))


if __name__ == "__main__":
    main()
