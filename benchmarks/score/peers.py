"""Makes the same lists in other ways: the product of the factors alone, `implicit` with `execute_values`, LightFM."""

import time
from typing import Any, Final

import numpy as np
import psycopg2
from numpy.typing import NDArray
from psycopg2.extras import execute_values
from scipy import sparse
from threadpoolctl import threadpool_limits

from benchmarks.score.synthetic_shop import DIMENSIONS, ITEMS, K, seen_by
from infra.configuration.thread_pools import processors

_BLOCKS: Final = (128, 512, 2048)
_TIMED: Final = 40_960
_LIGHTFM: Final = 100
_TABLE: Final = "CREATE TABLE peer (user_id int, item_id int, rank int, score real, PRIMARY KEY (user_id, rank))"


def product_seconds(users: NDArray[np.float32], items: NDArray[np.float32]) -> float:
    """Return the limit: seconds of only the product of all users and all items, in the best of three block sizes."""
    batch, columns = users[:_TIMED], np.ascontiguousarray(items.T)
    with threadpool_limits(processors(), "blas"):
        return min(_product(batch, columns, block) for block in _BLOCKS) * len(users) / len(batch)


def _product(users: NDArray[np.float32], columns: NDArray[np.float32], block: int) -> float:
    out = np.empty((block, columns.shape[1]), dtype=np.float32)
    started = time.perf_counter()
    for start in range(0, len(users) - block + 1, block):
        np.dot(users[start : start + block], columns, out=out)
    return time.perf_counter() - started


def implicit_seconds(url: str, users: NDArray[np.float32], items: NDArray[np.float32], seed: int) -> float:
    """Return seconds of `recommend` for all users without known items, and of `execute_values` into a keyed table.

    The table has a row per recommendation, as in its documentation. Both run in batches, on the library's own cores.
    """
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(factors=DIMENSIONS)
    model.user_factors, model.item_factors = users, items
    pairs = [np.concatenate(part) for part in zip(*seen_by(len(users), seed), strict=True)]
    seen = sparse.csr_matrix((np.ones(len(pairs[0]), dtype=np.float32), tuple(pairs)), shape=(len(users), ITEMS))
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLE)
        started = time.perf_counter()
        for start in range(0, len(users), 8192):
            batch = np.arange(start, min(start + 8192, len(users)))
            recommended = model.recommend(batch, seen[batch], N=K, filter_already_liked_items=True)
            execute_values(cursor, "INSERT INTO peer VALUES %s", _rows(batch, *recommended), page_size=10_000)
        connection.commit()
        return time.perf_counter() - started


def _rows(users: NDArray[np.int64], items: NDArray[np.int32], scores: NDArray[np.float32]) -> Any:
    ranks = np.tile(np.arange(1, K + 1), len(users)).tolist()
    return zip(np.repeat(users, K).tolist(), items.ravel().tolist(), ranks, scores.ravel().tolist(), strict=True)


def lightfm_seconds(users: int, seed: int) -> float:
    """Return seconds of LightFM's `predict` of every item and sorting, for a sample of users, scaled up to all."""
    from lightfm import LightFM

    random = np.random.default_rng(seed)
    model = LightFM(no_components=DIMENSIONS, random_state=seed)
    few = sparse.coo_matrix(random.random((_LIGHTFM, ITEMS)) < 1e-5).astype(np.float32)
    model.fit_partial(few, epochs=1)
    every = np.arange(ITEMS, dtype=np.int32)
    model.predict(0, every, num_threads=processors())
    started = time.perf_counter()
    for user in range(_LIGHTFM):
        np.argpartition(-model.predict(user, every, num_threads=processors()), K)
    return (time.perf_counter() - started) * users / _LIGHTFM
