"""The interface of all models, so that training, comparing, storing and scoring treat them alike."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.primitives.state import State
from models.recommenders.search_space import Parameter

if TYPE_CHECKING:
    from models.datasets.cold_start import NewUsers
    from models.datasets.training_data import TrainingData

BASE_VALUE: Final = "everybody"
"""The name among the features for the base value of every score."""


MIX, DISCOVER, REPURCHASE = POLICIES = ("mix", "discover", "repurchase")
"""The policies of placements: all items, only those new to the user, only those that the user bought."""


class Recommender(Protocol):
    """Scores users against items. `models.lists.list_builder` ranks, hides and fills up."""

    kind: ClassVar[str]
    """The model's name in the catalogue, in the registry and in bundles."""
    config_type: ClassVar[type[Any]]
    """Frozen dataclass of settings; every field has a default."""
    space: ClassVar[Mapping[str, Parameter]]
    """The settings worth searching, by field name."""

    @property
    def config(self) -> Any:
        """The settings it was fitted with, an instance of `config_type`."""

    @property
    def users(self) -> NDArray[np.str_]:
        """User keys, sorted; a user's position here is its index."""

    @property
    def items(self) -> NDArray[np.str_]:
        """Item ids, sorted; an item's position here is its index."""

    @classmethod
    def fit(cls, data: "TrainingData", config: Any, seed: int) -> Self:
        """Learn from `data`; the same data, config and seed give the same model."""

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return float32 [m, n_items], higher is better, -inf if the model has no score.

        A user index of -1 is a stranger: the whole row is -inf. Memory is m x n_items: call with chunks.
        """

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """Return one sentence for the shopper per (user, item) pair of equally long arrays."""

    def state(self) -> State:
        """Return all arrays that `from_state` needs."""

    @classmethod
    def from_state(cls, config: Any, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the model of this state: same scores, same reasons."""


@runtime_checkable
class HasHeads(Protocol):
    """A model that ranks differently for each policy of placements."""

    def head(self, policy: str) -> Recommender:
        """Return the model that ranks for placements of this policy."""


def head_of(model: Recommender, policy: str) -> Recommender:
    """Return the model that ranks for placements of this policy: most models have only one way."""
    return model.head(policy) if isinstance(model, HasHeads) else model


@runtime_checkable
class FoldsInUsers(Recommender, Protocol):
    """A model that can score users it has not learned from."""

    def with_users(self, users: "NewUsers") -> Self:
        """Return the model with these users in place of its own, without training.

        `users.events` refers to items by their position in this model. Users without data that the model uses have no
        scores: their whole rows are -inf.
        """


@runtime_checkable
class Explains(Recommender, Protocol):
    """A model whose score of a pair is a sum of parts."""

    adds_to: ClassVar[str]
    """The unit of the parts, such as log-odds."""

    def contributions(self, user: int, item: int) -> dict[str, float]:
        """Return what each part adds, the strongest first; empty if the model has no score for the pair."""


@runtime_checkable
class Attributes(Recommender, Protocol):
    """A model that can attribute the scores of many pairs to features."""

    def attributions(
        self, users: NDArray[np.int32], items: NDArray[np.int32]
    ) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """Return the features, and the part of each in the log-odds of n pairs [n, features].

        Rows are NaN if the model has no score. One of the features is `BASE_VALUE`.
        """


class Epoch(NamedTuple):
    """A finished pass over the data."""

    number: int
    """From 1."""
    most: int
    """Passes after which training ends in any case."""
    loss: float
    ndcg: float
    """NDCG@10 on the validation, over the whole catalogue; NaN without users to validate on."""


class EpochWatch(Protocol):
    """Follows a training, and keeps what it needs to go on after a kill."""

    def checkpoint(self) -> bytes | None:
        """Return the last checkpoint of the same training; None at its beginning."""

    def ended(self, epoch: Epoch, checkpoint: Callable[[], bytes]) -> None:
        """Note the end of an epoch, from whose checkpoint training can go on."""


@runtime_checkable
class LearnsByEpochs(Protocol):
    """The class of a model that can be watched, and go on after a kill."""

    def fit_by_epochs(self, data: "TrainingData", config: Any, seed: int, watch: EpochWatch | None) -> Self:
        """Return the same model as `fit`, also if it goes on from a checkpoint."""
