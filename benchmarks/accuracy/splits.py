"""Splits interactions into training data and targets, by the two protocols that published accuracies follow.

Sequences (leave one out, as in Kang & McAuley 2018): the last item of each user is the test, and the one before it the
validation. Pairs (as in He et al. 2020): train and test are given, and the validation is drawn from train.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.accuracy.readers import BadFileError, Interactions, read, train_and_test
from models.datasets.training_data import TrainingData
from models.features.encoding.encoder import Tags
from models.primitives.vocabulary import index_of

Layout = Literal["sequences", "pairs"]
Part = Literal["validation", "test"]

SEED: Final = 7
SHARE: Final = 0.1
"""Share of a user's pairs that is held out for validation."""

_DAY: Final = 86_400
_CUT: Final = 20_000 * _DAY
_NO_TAGS: Final = Tags.fit(pa.table({}), ())


@dataclass(frozen=True)
class Split:
    """Training data, and the later items of the users."""

    data: TrainingData
    targets: sparse.csr_array
    """Boolean CSR [users, items] of `data`."""


def split(layout: Layout, part: Part, path: Path, test: Path | None = None) -> Split:
    """Return the split of these files for choosing settings or for the test. Raises BadFileError."""
    if layout == "sequences":
        return leave_one_out(read(path), part)
    train_path, test_path = train_and_test(path, test)
    return given(read(train_path), read(test_path), part)


def leave_one_out(rows: Interactions, part: Part) -> Split:
    """Take the last item of each user as target, or for validation the one before it, without the last.

    Users with fewer than three interactions are training data only. One step back is one day: the latest training
    interaction of a user is a day before the cut. Raises BadFileError without a user to evaluate.
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
    """Take train and test as they are, or for validation hold out a tenth of each user's train pairs by seed.

    A set of pairs has no order: all pairs are a day before the cut.
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
    """Return training data of events so many days before the cut, each a basket of its own, without titles and tags."""
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


def sample(targets: sparse.csr_array, users: int, seed: int = SEED) -> sparse.csr_array:
    """Return the targets of at most that many users, drawn by seed."""
    evaluated = np.flatnonzero(np.diff(targets.indptr))
    if len(evaluated) <= users:
        return targets
    training = np.zeros(targets.shape[0], dtype=np.float32)
    training[np.random.default_rng(seed).choice(evaluated, size=users, replace=False)] = 1
    return sparse.csr_array(sparse.diags_array(training) @ targets).astype(bool)


def _drawn(user: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Draw a share of each user's pairs, at least one, but never a user's only pair."""
    order = np.lexsort((np.random.default_rng(seed).random(len(user)), user))
    place = np.empty(len(user), dtype=np.int64)
    place[order] = np.arange(len(user)) - np.searchsorted(user[order], user[order])
    length = np.bincount(user)[user]
    drawn: NDArray[np.bool_] = (length > 1) & (place < np.maximum(1, np.round(length * SHARE)))
    return drawn


def _coded(rows: Interactions) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]]:
    """Return users, items, and the position of each interaction in them."""
    users, items = np.unique(rows.user), np.unique(rows.item)
    columns: Sequence[NDArray[np.int32]] = index_of(users, rows.user), index_of(items, rows.item)
    return users, items, columns[0].astype(np.int64), columns[1].astype(np.int64)


def _matrix(user: NDArray[np.int64], item: NDArray[np.int64], data: TrainingData) -> sparse.csr_array:
    shape = (len(data.users), len(data.items))
    return sparse.csr_array((np.ones(len(user), dtype=bool), (user, item)), shape=shape)
