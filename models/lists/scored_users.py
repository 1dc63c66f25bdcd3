"""Builds the lists of users whose scores are in memory, for offline evaluation, benchmarks and `explain`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.lists.constrained_selection import Selection
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import ModelCascade
from models.lists.rules.compiled_rules import CompiledRules
from models.recommenders.explanations.sentences import NONE


def lists_of_scores(
    scores: NDArray[np.float32],
    rules: CompiledRules,
    fallback: NDArray[np.float32] | None = None,
    hidden: Any = None,
) -> Selection:
    """Return the lists that batch scoring would build from `scores` [m, n_items]; -inf and NaN are never ranked.

    `fallback` [n_items] fills the places that are left, its own -inf and NaN last; without it they stay -1. `hidden`
    (boolean CSR, m x n_items) keeps items from single users.
    """
    model = StoredScores(np.arange(len(scores)).astype(np.str_), scores)
    parts = list(ListBuilder(ModelCascade((model,)), fallback, rules).build(model.users, hidden))
    selections = [Selection.of(part.items, part.scores, part.from_fallback) for part in parts]
    order = np.argsort(np.concatenate([np.empty(0, dtype=np.int64), *(part.rows for part in parts)]))
    joined = Selection.joined(selections, rules.k)
    return Selection.of(joined.items[order], joined.scores[order], joined.from_fallback[order])


@dataclass(frozen=True)
class StoredScores:
    """Scores in memory as a model that gives no reasons."""

    users: NDArray[np.str_]
    table: NDArray[np.float32]
    """[n_users, n_items]"""

    @property
    def items(self) -> NDArray[np.str_]:
        """Return positions in place of ids."""
        return np.arange(self.table.shape[1]).astype(np.str_)

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the rows of these users."""
        return self.table if len(users) == len(self.table) else self.table[users]

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:  # noqa: ARG002
        """Return a reason that claims nothing for each pair."""
        return [NONE] * len(users)

    def reason_codes(
        self,
        users: NDArray[np.int32],
        items: NDArray[np.int32],  # noqa: ARG002
    ) -> tuple[NDArray[np.int32], list[str]]:
        """Return the same as positions among the sentences, and the sentences."""
        return np.zeros(len(users), dtype=np.int32), [NONE]
