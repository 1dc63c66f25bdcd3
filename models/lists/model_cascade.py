"""Several models in turn: of each user the first that has anything to say speaks."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.primitives.vocabulary import index_of
from models.retrieval.full_catalogue import Ranking


class Speaker(Protocol):
    """What a `Recommender` says of users and items; see there."""

    @property
    def users(self) -> NDArray[np.str_]: ...

    @property
    def items(self) -> NDArray[np.str_]: ...

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]: ...

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]: ...


class Spoken(NamedTuple):
    """What was said of m users."""

    scores: NDArray[np.float32]
    """[m, n_items] on the scale of whoever speaks; whole rows of -inf where nobody has anything to say."""
    speaker: NDArray[np.int32]
    """[m] position of the model whose row it is."""


@dataclass(frozen=True)
class InTurn:
    """Models of the same items, the best informed first."""

    models: tuple[Speaker, ...]

    def speak(self, keys: NDArray[np.str_], allowed: NDArray[np.bool_]) -> Spoken:
        """Ask of the users `keys` [m]; a model that names nothing `allowed` [n_items] has nothing to say."""
        first, *others = self.models
        spoken = Spoken(first.scores(index_of(first.users, keys)), np.zeros(len(keys), dtype=np.int32))
        for place, model in enumerate(others, 1):
            silent = np.flatnonzero(~((spoken.scores > -np.inf) & allowed).any(axis=1))
            if not len(silent):
                break
            spoken.scores[silent] = model.scores(index_of(model.users, keys[silent]))
            spoken.speaker[silent] = place
        return spoken

    def reasons(self, keys: NDArray[np.str_], spoken: Spoken, ranking: Ranking, otherwise: str) -> list[list[str]]:
        """[m, k] the speaker's reason for each pick; `otherwise` for what filled a list up."""
        said = np.full(ranking.items.shape, otherwise, dtype=object)
        picked = ~ranking.from_fallback & (ranking.items >= 0)
        for place, model in enumerate(self.models):
            row, column = np.nonzero(picked & (spoken.speaker == place)[:, None])
            said[row, column] = model.reasons(index_of(model.users, keys)[row], ranking.items[row, column])
        reasons: list[list[str]] = said.tolist()
        return reasons
