"""Group users by traits: by each value, and those with similar traits by k-means on the encoded traits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import USER_KEY
from models.features.encoding.encoder import Encoder, Scaled, one_hot, vocabulary
from models.features.encoding.traits import known, readable
from models.features.segments import trait_pooling
from models.features.segments.trait_pooling import TraitGroups
from models.primitives.arrow_types import ArrowColumn, pa, pc
from models.primitives.state import State

UNKNOWN: Final = "unknown"
"""The segment of users without a known trait."""

LARGEST_K: Final = 8
SMALLEST_SHARE: Final = 0.02
SMALLEST_SIZE: Final = 20
"""A group has at least this many of the users with traits, and at least that share of them."""

_CENTRES: Final = "centres"
_GROUPS: Final = "groups"
_FIT_ROWS: Final = 20_000
_SILHOUETTE_ROWS: Final = 2_000
_CHUNK: Final = 100_000
_MOST_TRAITS: Final = 3
_LEAST_DIFFERENCE: Final = 0.05


@dataclass(frozen=True)
class Demographics:
    """Centres in the space of the encoded traits, the largest group first."""

    groups: Mapping[str, TraitGroups]
    """The grouping of the values of each trait, before they are encoded."""
    encoder: Encoder
    centres: NDArray[np.float32]
    """[k, width]; no row if there is only one group."""

    @classmethod
    def fit(cls, traits: pa.Table, seed: int) -> Self:
        """Learn groups from the users with traits, or from a sample of 20,000 of them.

        k is the number from 2 to 8 with the best mean silhouette (Rousseeuw 1987, on a sample of 2,000) whose smallest
        group is large enough. Without such a k all users are one group.
        """
        groups = trait_pooling.fit(traits)
        values = trait_pooling.grouped(traits, groups)
        columns = values.column_names
        part = values.take(_sampled(np.flatnonzero(known(values, columns)), _FIT_ROWS, seed))
        encoder = Encoder.fit(part, columns)
        return cls(groups, encoder, _centres(encoder.transform(part)[0].toarray(), seed))

    def assign(self, traits: pa.Table) -> NDArray[np.str_]:
        """Return `group_<number>` of the nearest centre of each user, or `unknown` ([n]).

        A trait that the table lacks is missing, and an unseen value is ignored.
        """
        group = np.zeros(traits.num_rows, dtype=np.int64)
        if len(self.centres):
            for start in range(0, traits.num_rows, _CHUNK):
                group[start : start + _CHUNK] = self._nearest(traits.slice(start, _CHUNK))
        names = np.array([f"group_{place + 1}" for place in range(max(1, len(self.centres)))])
        return np.where(self._understood(traits), names[group], UNKNOWN)

    def typical(self, traits: pa.Table, assigned: NDArray[np.str_]) -> dict[str, str]:
        """Return for each segment its most distinctive traits: their share in it, and among all users with traits.

        A number is shown as the range of its fifth of the users.
        """
        columns = list(self.encoder.columns)
        matrix, names = one_hot(readable(trait_pooling.grouped(traits, self.groups)), columns)
        usual = _shares(matrix, assigned != UNKNOWN)
        descriptions = {UNKNOWN: "no trait is known"}
        for segment in np.unique(assigned[assigned != UNKNOWN]):
            shares = _shares(matrix, assigned == segment)
            descriptions[str(segment)] = _distinctive(names, shares, usual)
        return descriptions

    def state(self) -> State:
        """Return the encoder's arrays, the centres, and the groups of the traits as JSON."""
        groups = json.dumps([rule.as_dict() for rule in self.groups.values()])
        return {**self.encoder.state(), _CENTRES: self.centres, _GROUPS: np.array(groups)}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild the groups from their state."""
        encoder = Encoder.from_state(state)
        groups = [TraitGroups.from_dict(rule) for rule in json.loads(str(state[_GROUPS]))]
        return cls({rule.trait: rule for rule in groups}, encoder, state[_CENTRES])

    def _numbers(self) -> set[str]:
        pairs = zip(self.encoder.columns, self.encoder.encodings, strict=True)
        return {column for column, encoding in pairs if encoding.kind == Scaled.kind}

    def _understood(self, traits: pa.Table) -> NDArray[np.bool_]:
        """Return whether any trait has a value that the fit has seen ([n])."""
        numbers = self._numbers()
        rows = trait_pooling.grouped(traits, self.groups)
        understood = known(rows, sorted(numbers))
        for column, encoding in zip(self.encoder.columns, self.encoder.encodings, strict=True):
            if column not in numbers:
                understood |= known(rows, [column]) & (np.diff(encoding.encode(rows[column]).indptr) > 0)
        return understood

    def _nearest(self, traits: pa.Table) -> NDArray[np.int64]:
        matrix, _ = self.encoder.transform(trait_pooling.grouped(traits, self.groups))
        distance = (self.centres**2).sum(axis=1) - 2 * (matrix @ self.centres.T)
        nearest: NDArray[np.int64] = distance.argmin(axis=1)
        return nearest


def _sampled(rows: NDArray[np.intp], limit: int, seed: int) -> NDArray[np.intp]:
    if len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng(abs(seed)).choice(rows, limit, replace=False))


def _centres(matrix: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    smallest = max(SMALLEST_SIZE, SMALLEST_SHARE * len(matrix))
    largest_k = min(LARGEST_K, len(np.unique(matrix, axis=0)), int(len(matrix) // smallest))
    judged = _sampled(np.arange(len(matrix)), _SILHOUETTE_ROWS, seed)
    best, best_score = np.zeros((0, matrix.shape[1]), dtype=np.float32), -np.inf
    for k in range(2, largest_k + 1):
        means = KMeans(k, n_init=4, random_state=seed % 2**32).fit(matrix)
        sizes = np.bincount(means.labels_, minlength=k)
        if sizes.min() < smallest or len(np.unique(means.labels_[judged])) < 2:
            continue
        score = float(silhouette_score(matrix[judged], means.labels_[judged]))
        if score > best_score:
            order = np.lexsort((*means.cluster_centers_.T, -sizes))
            best, best_score = means.cluster_centers_[order].astype(np.float32), score
    return best


def _shares(matrix: sparse.csr_array, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    counts = rows.astype(np.float64) @ matrix
    shares: NDArray[np.float64] = counts / max(1, int(rows.sum()))
    return shares


def _distinctive(names: NDArray[np.str_], shares: NDArray[np.float64], usual: NDArray[np.float64]) -> str:
    order = np.lexsort((names, usual - shares))[:_MOST_TRAITS]
    apart = [place for place in order if shares[place] - usual[place] >= _LEAST_DIFFERENCE]
    traits = [f"{names[p]} ({shares[p]:.0%} against {usual[p]:.0%})" for p in apart]
    return ", ".join(traits) or "like all others"


@dataclass(frozen=True)
class Group:
    """The users with one value of a trait."""

    trait: str
    value: str | None
    """None: the trait is not known."""
    users: int
    """The number of users who may be served."""
    trained: int
    """The number of users whose behaviour the model learns from."""


def groups(users: pa.Table, trained: ArrowColumn) -> list[Group]:
    """Return the groups of every trait of `users` (one row each, `user_key` and traits as text or numbers).

    `trained` is an Arrow array of user keys. Groups are ordered by trait and value, users without a value last.
    """
    learned = np.asarray(pc.is_in(users[USER_KEY], value_set=trained.cast(users[USER_KEY].type)))
    values = readable(trait_pooling.grouped(users, trait_pooling.fit(users)))
    return [group for name in sorted(values.column_names) for group in _of_trait(name, values[name], learned)]


def _of_trait(trait: str, values: ArrowColumn, learned: NDArray[np.bool_]) -> list[Group]:
    names, codes = vocabulary(values)
    # Code -1, for no value, becomes the last position.
    place = np.where(codes < 0, len(names), codes)
    counts = np.bincount(place, minlength=len(names) + 1).tolist()
    trained = np.bincount(place[learned], minlength=len(names) + 1).tolist()
    rows = zip([*names.tolist(), None], counts, trained, strict=True)
    return [Group(trait, value, users, known) for value, users, known in rows if users]
