"""Measures how long models take to fit and to rank, beside libraries, on the same purchases in one run.

All rank the whole catalogue for every user of the Complete Journey, ten places, without exclusions. RecTools runs in an
environment of its own, if it can be installed. Run as `python -m benchmarks.models`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import sparse

from benchmarks.installation import journey
from benchmarks.results import FOLDER, publish
from models import catalog
from models.datasets.dataset import Dataset
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.scored_users import lists_of_scores
from models.recommenders import als

SEED: Final = 7
K: Final = 10
_CHUNK: Final = 512
_ALS: Final = als.Config()
"""Settings of the libraries' models, too."""
_SCRIPT: Final = Path(__file__).with_name("rectools_baseline.py")


class Taken(NamedTuple):
    """Seconds."""

    fit: float
    top_k: float


def _timed(fit: Callable[[], Any], rank: Callable[[Any], object]) -> Taken:
    started = time.perf_counter()
    model = fit()
    fitted = time.perf_counter()
    rank(model)
    return Taken(fitted - started, time.perf_counter() - fitted)


def _own(kind: str, dataset: Dataset) -> Taken:
    data = replace(dataset).training_data(dataset.cuts.test_from)  # nothing that another model has worked out

    def rank(model: Any) -> None:
        for start in range(0, len(data.users), _CHUNK):
            users = np.arange(start, min(start + _CHUNK, len(data.users)), dtype=np.int32)
            lists_of_scores(model.scores(users), CompiledRules.unrestricted(K, len(data.items)))

    return _timed(lambda: catalog.model_type(kind).fit(data, catalog.config(kind), SEED), rank)


def _implicit(counts: Any) -> Taken:
    from implicit.cpu.als import AlternatingLeastSquares

    def fit() -> Any:
        model = AlternatingLeastSquares(factors=_ALS.factors, iterations=_ALS.iterations, random_state=SEED)
        model.fit(counts, show_progress=False)
        return model

    users = np.arange(counts.shape[0])
    return _timed(fit, lambda model: model.recommend(users, counts, N=K, filter_already_liked_items=False))


def _lightfm(counts: Any) -> Taken:
    from lightfm import LightFM

    items = np.arange(counts.shape[1], dtype=np.int32)

    def fit() -> Any:
        model = LightFM(no_components=64, loss="warp", random_state=SEED)
        return model.fit(counts.tocoo(), epochs=10)

    def rank(model: Any) -> None:
        for user in range(counts.shape[0]):
            scores = model.predict(user, items)
            np.argpartition(-scores, K)[:K]

    return _timed(fit, rank)


def _rectools(counts: Any) -> Taken | None:
    """Return None if it cannot be installed."""
    folder = FOLDER.absolute() / "rectools"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    installed = subprocess.run([python, "-m", "pip", "install", "--quiet", "rectools==0.19.0"], check=False)
    if installed.returncode:
        return None
    sparse.save_npz(folder / "counts.npz", sparse.csr_matrix(counts))
    numbers = map(str, (K, SEED, _ALS.factors, _ALS.iterations))
    command = [str(python), str(_SCRIPT), str(folder / "counts.npz"), *numbers]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


def _measured(dataset: Dataset) -> Iterator[tuple[str, Taken | None]]:
    data = dataset.training_data(dataset.cuts.test_from)
    entries = (np.ones(len(data.user), dtype=np.float32), (data.user, data.item))
    counts = sparse.csr_matrix(entries, shape=(len(data.users), len(data.items)))
    yield "implicit ALS, plainly", _implicit(counts)
    yield "LightFM, plainly", _lightfm(counts)
    yield "RecTools, ALS", _rectools(counts)
    for kind in (kind for kind in catalog.CATALOG if kind != "sequence"):  # it has a benchmark of its own
        yield kind, _own(kind, dataset)


def main() -> None:
    """Measure, and write the figures to var/benchmarks/models.json."""
    figures: dict[str, float] = {}
    table = Table("model", "fit, s", "top 10 of everybody, s", title="Speed", title_justify="left")
    with journey() as dataset:
        for name, taken in _measured(dataset):
            if taken is None:
                table.add_row(name, "does not install here", "")
                continue
            figures |= {f"{name}: fit_s": taken.fit, f"{name}: top_k_s": taken.top_k}
            table.add_row(name, f"{taken.fit:.2f}", f"{taken.top_k:.2f}")
    Console().print(table)
    publish("models", figures, SEED)


if __name__ == "__main__":
    main()
