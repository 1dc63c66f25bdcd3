"""Shows the lists of two models side by side for real users, with their later purchases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns import ITEM_ID, OCCURRED_AT, USER_KEY
from models.datasets.dataset import Dataset
from models.datasets.training_data import known_before
from models.evaluation.comparison import figures
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import LISTS, Evaluation
from models.primitives.vocabulary import index_of, words

USERS: Final = 10


@dataclass(frozen=True)
class ExampleList:
    """The list of one model for one user."""

    items: list[str]
    figure: float
    """NDCG at 10."""


@dataclass(frozen=True)
class Example:
    """One user with the lists of both models."""

    user_key: str
    baskets: int
    candidate: ExampleList
    reference: ExampleList
    bought: list[str]
    """Purchases in the held-out weeks, in order, each item once; items without earlier purchases are left out."""
    bought_before: frozenset[str]
    """All items that the user had bought earlier."""


def examples(candidate: Evaluation, reference: Evaluation, dataset: Dataset, n: int = USERS) -> list[Example]:
    """Return `n` users: all are sorted by the candidate's gain in NDCG, and the middle of each n-th part is taken.

    Losses come first, and their share is that of all users.
    """
    if LISTS not in candidate.per_user.column_names or LISTS not in reference.per_user.column_names:
        return []
    positions = index_of(words(reference.per_user[USER_KEY]), candidate.per_user[USER_KEY])
    both = np.flatnonzero(positions >= 0)
    gained = figures(candidate, METRIC)[both] - figures(reference, METRIC)[positions[both]]
    known_items = np.isfinite(gained)
    both, gained = both[known_items], gained[known_items]
    keys = words(candidate.per_user[USER_KEY])[both]
    chosen = both[np.lexsort((keys, gained))[_middles(len(both), n)]]
    rows = candidate.per_user.take(chosen).to_pylist()
    others = reference.per_user.take(positions[chosen]).to_pylist()
    bought, had = _bought(dataset, [row[USER_KEY] for row in rows])
    return [
        Example(
            own[USER_KEY],
            int(own["baskets"]),
            ExampleList(own[LISTS], own[METRIC]),
            ExampleList(other[LISTS], other[METRIC]),
            bought.get(own[USER_KEY], []),
            frozenset(had.get(own[USER_KEY], [])),
        )
        for own, other in zip(rows, others, strict=True)
    ]


def _middles(total: int, n: int) -> NDArray[np.int64]:
    """Return the middle positions of n equal parts of `total`; all positions if there are no more than n."""
    if total <= n:
        return np.arange(total)
    return ((np.arange(n) + 0.5) * total / n).astype(np.int64)


def _bought(dataset: Dataset, keys: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return by user the purchases in the test weeks, of items known then, and the earlier purchases."""
    rows, cut = dataset.interactions, dataset.cuts.test_from
    earlier_rows, later_rows = known_before(rows, cut), known_before(rows, dataset.cuts.as_of, since=cut)
    known_items = pc.unique(earlier_rows[ITEM_ID])
    user_keys = pa.array(keys, rows[USER_KEY].type)
    earlier, later = (part.filter(pc.is_in(part[USER_KEY], value_set=user_keys)) for part in (earlier_rows, later_rows))
    catalogue = dataset.items[ITEM_ID].cast(known_items.type)
    countable = pc.and_(*(pc.is_in(later[ITEM_ID], value_set=ids) for ids in (known_items, catalogue)))
    return _by_user(later.filter(countable)), _by_user(earlier)


def _by_user(rows: pa.Table) -> dict[str, list[str]]:
    ordered = rows.sort_by([(OCCURRED_AT, "ascending"), (ITEM_ID, "ascending")])
    items_by_user: dict[str, dict[str, None]] = {}
    for user, item in zip(ordered[USER_KEY].to_pylist(), ordered[ITEM_ID].to_pylist(), strict=True):
        items_by_user.setdefault(user, {})[item] = None
    return {user: list(items) for user, items in items_by_user.items()}
