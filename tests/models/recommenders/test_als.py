import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_info

from models.datasets.cold_start import NewUsers
from models.datasets.training_data import TrainingData
from models.recommenders.als import Config, ImplicitALS

FIT = """
import pyarrow as pa
from models.recommenders.als import Config, ImplicitALS
from models.datasets.training_data import build
events = {"user_key": ["a"], "item_id": ["x"], "occurred_at": [1], "session_id": ["s"]}
item = {"item_id": ["x"], "title": ["x"], "category": ["C"], "available": [True]}
data = build(pa.table(events), pa.table({"user_key": ["a"]}), pa.table(item), 2)
try:
    ImplicitALS.fit(data, Config(), 0)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def model(data: TrainingData) -> ImplicitALS:
    return ImplicitALS.fit(data, Config(factors=16), seed=0)


def clicks(*pairs: tuple[str, str]) -> pa.Table:
    user, item = zip(*pairs, strict=True)
    return pa.table({"user_key": list(user), "item_id": list(item)})


def test_bought_items_score_near_one_and_others_near_zero(small) -> None:
    rows = [
        (user, item, 99, f"{user}{item}") for user, items in (("a", "xy"), ("b", "xy"), ("c", "z")) for item in items
    ]
    model = ImplicitALS.fit(small(rows), Config(factors=2, regularization=0.001, alpha=20), seed=0)
    bought = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(model.scores(np.arange(3, dtype=np.int32)), bought, atol=0.05)


def test_a_new_user_is_solved_by_the_papers_equation_around_the_mean_user(model: ImplicitALS) -> None:
    events = clicks(("n", "i03"), ("n", "i07"), ("n", "i07"))
    new = model.with_users(NewUsers.of(pa.table({"user_key": ["n"]}), events, model.items))
    count = np.zeros(len(model.items))
    count[[3, 7]] = [1, 2]
    mean, items = model.mean_user.astype(np.float64), model.item_factors.astype(np.float64)
    sure = model.config.click_weight * model.config.alpha * np.log1p(count)
    confidence, expected_items = np.where(count > 0, sure, 1), np.where(count > 0, 1, items @ mean)
    penalty = model.config.regularization
    remaining = items.T @ (confidence[:, None] * items) + penalty * np.eye(16)
    expected = np.linalg.solve(remaining, items.T @ (confidence * expected_items) + penalty * mean)
    np.testing.assert_allclose(new.user_factors[0], expected, rtol=1e-3, atol=1e-5)


def test_reasons_name_a_category_with_evidence_or_claim_nothing(model: ImplicitALS) -> None:
    users, items = np.array([0, 0, 1, -1], np.int32), np.array([3, 25, 25, 3], np.int32)
    own, other, tools, stranger = model.reasons(users, items)
    assert own.startswith("You bought from fruit on ")
    assert tools.startswith("You bought from Tools on ")
    assert other == stranger == "You may like this"


def test_fits_at_a_time_leave_the_threads_of_blas_as_they_were(data: TrainingData) -> None:
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    with ThreadPoolExecutor(4) as pool:
        fitted = list(pool.map(lambda seed: ImplicitALS.fit(data, Config(factors=16), seed), (0, 1, 2, 0, 1, 2)))
    assert threads() == before
    np.testing.assert_array_equal(fitted[0].item_factors, fitted[3].item_factors)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' wheels bring their own OpenMP")
def test_a_system_without_openmp_gets_a_message_with_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "libgomp.so.1").write_bytes(b"")  # found first, and not to be loaded
    command = [sys.executable, "-c", FIT]
    surroundings = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("TailorbirdError ALS needs the system's OpenMP library")
    assert "libgomp1" in done.stdout
