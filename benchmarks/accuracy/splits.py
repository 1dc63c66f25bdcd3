"""What is learned from and what is to be foreseen, in the two protocols that published accuracies follow.

Sequences (leave one out, as in Kang & McAuley 2018): of each user the last item is the test and the one before it
the validation. Pairs (as in He et al. 2020): train and test are given, and the validation is drawn from train.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.accuracy.readers import BadFileError, Interactions, read, train_and_test
from models.datasets.training_data import TrainingData
from models.features.encoding.tags import Tags
from models.primitives.vocabulary import index_of

Layout = Literal["sequences", "pairs"]
Part = Literal["validation", "test"]

SEED: Final = 7
SHARE: Final = 0.1
"""Of a user's pairs, held out for validation."""

_DAY: Final = 86_400
_CUT: Final = 20_000 * _DAY
_NO_TAGS: Final = Tags.fit(pa.table({}), ())


@dataclass(frozen=True)
class Split:
    """Training data, and what the users did next."""

    data: TrainingData
    targets: Any
    """Boolean CSR, users x items of `data`."""


def split(layout: Layout, part: Part, path: Path, test: Path | None = None) -> Split:
    """The split of these files for choosing settings or for the test. Raises BadFileError."""
    if layout == "sequences":
        return leave_one_out(read(path), part)
    train_path, test_path = train_and_test(path, test)
    return given(read(train_path), read(test_path), part)


def leave_one_out(rows: Interactions, part: Part) -> Split:
    """The last item of each user as the target, or (validation) the one before it, never to see the last.

    Users with less than three interactions are learned from and not asked. One step back is one day: a user's
    latest interaction that is learned from is a day before the cut. Raises BadFileError when nobody can be asked.
    """
    users, items, user, item = _coded(rows)
    order = np.argsort(user, kind="stable")
    user, item = user[order], item[order]
    length = np.bincount(user, minlength=len(users))
    from_end = np.cumsum(length)[user] - np.arange(len(user)) - 1
    evaluated = length[user] >= 3
    if not evaluated.any():
        raise BadFileError("No user has three interactions: one to learn from, one to validate and one to test.")
    held = np.where(evaluated, 1 if part == "test" else 2, 0)
    training, targets = from_end >= held, evaluated & (from_end == held - 1)
    data = training_data(users, items, user[training], item[training], (from_end - held)[training] + 1)
    return Split(data, _matrix(user[targets], item[targets], data))


def given(train: Interactions, test: Interactions, part: Part, seed: int = SEED) -> Split:
    """Train and test as they are, or (validation) a tenth of each user's train pairs held out by seed.

    A set of pairs has no order: all of it is a day before the cut.
    """
    both = Interactions(*(np.concatenate(columns) for columns in zip(train, test, strict=True)))
    users, items, user, item = _coded(both)
    to_test = np.arange(len(user)) >= len(train.user)
    targets = to_test if part == "test" else _drawn(user[~to_test], seed)
    user, item = (user, item) if part == "test" else (user[~to_test], item[~to_test])
    if not targets.any():
        raise BadFileError("No user has two pairs to learn from: nothing can be held out to choose settings by.")
    data = training_data(users, items, user[~targets], item[~targets], np.ones(int((~targets).sum()), dtype=np.int64))
    return Split(data, _matrix(user[targets], item[targets], data))


def training_data(
    users: NDArray[np.str_],
    items: NDArray[np.str_],
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    age: NDArray[np.int64],
) -> TrainingData:
    """Events that many days before the cut, each a basket of its own, of items without titles and tags."""
    order = np.lexsort((item, -age, user))
    return TrainingData(
        users=users,
        items=items,
        user=user[order].astype(np.int32),
        item=item[order].astype(np.int32),
        occurred_at=_CUT - age[order] * _DAY,
        basket=np.arange(len(user), dtype=np.int32),
        user_tags=sparse.csr_array((len(users), 0), dtype=np.float32),
        item_tags=sparse.csr_array((len(items), 0), dtype=np.float32),
        user_tag_rules=_NO_TAGS,
        item_tag_rules=_NO_TAGS,
        item_titles=np.zeros(len(items), dtype="<U1"),
        item_categories=np.zeros(len(items), dtype="<U1"),
        available=np.ones(len(items), dtype=bool),
        cut=_CUT,
    )


def sample(targets: Any, users: int, seed: int = SEED) -> Any:
    """The targets of at most that many users, drawn by seed."""
    evaluated = np.flatnonzero(np.diff(targets.indptr))
    if len(evaluated) <= users:
        return targets
    training = np.zeros(targets.shape[0], dtype=np.float32)
    training[np.random.default_rng(seed).choice(evaluated, size=users, replace=False)] = 1
    return sparse.csr_array(sparse.diags_array(training) @ targets).astype(bool)


def _drawn(user: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """A share of each user's pairs, at least one, but never a user's only one."""
    order = np.lexsort((np.random.default_rng(seed).random(len(user)), user))
    place = np.empty(len(user), dtype=np.int64)
    place[order] = np.arange(len(user)) - np.searchsorted(user[order], user[order])
    length = np.bincount(user)[user]
    drawn: NDArray[np.bool_] = (length > 1) & (place < np.maximum(1, np.round(length * SHARE)))
    return drawn


def _coded(rows: Interactions) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]]:
    """Users, items, and each interaction's position in them."""
    users, items = np.unique(rows.user), np.unique(rows.item)
    columns: Sequence[NDArray[np.int32]] = index_of(users, rows.user), index_of(items, rows.item)
    return users, items, columns[0].astype(np.int64), columns[1].astype(np.int64)


def _matrix(user: NDArray[np.int64], item: NDArray[np.int64], data: TrainingData) -> Any:
    shape = (len(data.users), len(data.items))
    return sparse.csr_array((np.ones(len(user), dtype=bool), (user, item)), shape=shape)
