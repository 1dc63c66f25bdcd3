import numpy as np

from models.lists.slot_filling import candidates, keys


def test_keys_put_candidates_in_order_and_give_them_back() -> None:
    scores = np.array([2, -1, np.nan, 2, -np.inf, 7, 0, -0.0], dtype=np.float32)
    items = np.array([5, 1, 2, 4, 3, -1, 8, 7], dtype=np.int32)
    result = candidates(np.sort(keys(scores, items)))
    assert result.items.tolist() == [4, 5, 7, 8, 1, -1, -1, -1]
    assert result.scores.tolist() == [2, 2, 0, 0, -1, -np.inf, -np.inf, -np.inf]
