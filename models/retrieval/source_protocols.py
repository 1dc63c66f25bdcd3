"""Where ranked candidates come from, whoever ranks them."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class TopCandidates(NamedTuple):
    """The n best candidates of r rows, best first, ties by position."""

    items: NDArray[np.int32]
    """[r, n] positions in the catalogue; -1 at the end where there are no more."""
    scores: NDArray[np.float32]
    """[r, n] never NaN; -inf where there are no more."""


class ScopedSource(Protocol):
    """Candidates of the users of one chunk, among certain items."""

    def fetch(self, rows: NDArray[np.int64], n: int) -> TopCandidates:
        """The `n` best of those rows of the chunk; `n` is at least 1 and at most the number of items."""


class CandidateSource(Protocol):
    """What a chunk of users can be offered."""

    def restrict_to(self, items: NDArray[np.int32]) -> ScopedSource:
        """Candidates from these items alone, given by their positions, ascending and not empty."""
