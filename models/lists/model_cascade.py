"""Fallback chain: the first model with a score for a user serves that user."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from models.recommenders.baselines.new_user_shrinkage import KINDS, ClickPrior
from models.recommenders.baselines.segment_popular import SegmentPopular
from models.recommenders.protocols import FoldsInUsers, Recommender

if TYPE_CHECKING:
    from models.datasets.cold_start import NewUsers


class ScoringModel(Protocol):
    """The part of a `Recommender` that a cascade needs; see there."""

    @property
    def users(self) -> NDArray[np.str_]: ...

    @property
    def items(self) -> NDArray[np.str_]: ...

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]: ...

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]: ...


@dataclass(frozen=True)
class ModelCascade:
    """Models of the same items, the best informed first."""

    models: tuple[ScoringModel, ...]


def build_cascade(
    model: Recommender,
    segments: SegmentPopular | None,
    fallback: NDArray[np.float32],
    new: "NewUsers | None" = None,
    buyers: NDArray[np.int32] | None = None,
) -> ModelCascade:
    """Return the champion followed by the best sellers of the user's segment.

    If there are `new` users, the champion and the segments score them too, as far as they support it.
    """
    models: list[ScoringModel] = [model]
    new_users = new if new is not None and len(new.keys) else None
    if isinstance(model, FoldsInUsers) and new_users is not None:
        folded = model.with_users(new_users)
        shrunk = model.kind in KINDS
        models.append(ClickPrior(folded, new_users.events, fallback, buyers=buyers) if shrunk else folded)
    if segments is not None:
        models.append(segments)
        models += [segments.with_users(new_users)] if new_users is not None else []
    return ModelCascade(tuple(models))
