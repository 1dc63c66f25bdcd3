"""Protocols of candidate sources: ranked candidates of the users of a chunk, whichever model ranks them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray


class TopCandidates(NamedTuple):
    """The n best candidates of r rows, best first, ties by position."""

    items: NDArray[np.int32]
    """[r, n] positions in the catalogue; -1 at the end if there are no more."""
    scores: NDArray[np.float32]
    """[r, n] never NaN; -inf if there are no more."""

    @classmethod
    def joined(cls, parts: Sequence["TopCandidates"], n: int) -> Self:
        """Return the rows of all parts, each of `n` candidates."""
        none = cls(np.empty((0, n), dtype=np.int32), np.empty((0, n), dtype=np.float32))
        return cls(*map(np.concatenate, zip(none, *parts, strict=True)))


class ScopedSource(Protocol):
    """Candidates of the users of one chunk, from a subset of the items."""

    def fetch(self, rows: NDArray[np.int64], n: int) -> TopCandidates:
        """Return the `n` best of those rows of the chunk; `n` is at least 1 and at most the number of items."""


class CandidateSource(Protocol):
    """Candidates of the users of one chunk."""

    def restrict_to(self, items: NDArray[np.int32]) -> ScopedSource:
        """Return the candidates among these items, given by their positions, ascending and not empty."""
