import numpy as np
import pytest
from numpy.typing import NDArray

from serving.model import loaded_model
from serving.model.loaded_model import RankedUsers

KEYS = ["ann", "bob", "cleo"]


class Pairs:
    """A model whose candidates for the user at position `u` are the items `u` and `u + 1`."""

    users = np.array(KEYS)

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def ranked(self, users: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        self.asked.append(users.tolist())
        rows = np.repeat(np.arange(len(users)), 2)
        items = np.stack([users, users + 1], axis=1).ravel()
        return rows, items.astype(np.int64), items.astype(np.float32) / 2


def listed(ranked: RankedUsers, user: int) -> tuple[list[int], list[float]]:
    items, scores = ranked.of(user)
    return items.tolist(), scores.tolist()


def test_users_are_ranked_once_and_those_who_are_asked_for_together_in_one_call() -> None:
    model = Pairs()
    ranked = RankedUsers(model)  # type: ignore[arg-type]
    assert listed(ranked, 1) == listed(ranked, 1) == ([1, 2], [0.5, 1.0])
    ranked.rank(["cleo", "bob", "nobody", "ann", "ann"])
    assert listed(ranked, 2) == ([2, 3], [1.0, 1.5])
    assert listed(ranked, 0) == ([0, 1], [0.0, 0.5])
    ranked.rank(KEYS)
    assert model.asked == [[1], [2, 0]]


def test_the_users_who_were_ranked_first_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Pairs()
    ranked = RankedUsers(model)  # type: ignore[arg-type]
    monkeypatch.setattr(loaded_model, "_REMEMBERED", 2)
    for user in (0, 1, 2, 1, 0):
        ranked.of(user)
    assert model.asked == [[0], [1], [2], [0]]
