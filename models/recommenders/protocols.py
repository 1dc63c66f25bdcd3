"""What every model promises, so that training, comparing, storing and scoring treat all models alike."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Protocol, Self, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.datasets.cold_start import NewUsers
from models.datasets.training_data import TrainingData
from models.primitives.state import State
from models.recommenders.search_space import Parameter

BASE_VALUE: Final = "everybody"
"""Stands among the features for what every score begins with."""


class Recommender(Protocol):
    """Scores users against items. Ranking, hiding and filling up are `models.retrieval.full_catalogue`'s business."""

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
        """User keys, sorted; users are named by their position here."""

    @property
    def items(self) -> NDArray[np.str_]:
        """Item ids, sorted; items are named by their position here."""

    @classmethod
    def fit(cls, data: TrainingData, config: Any, seed: int) -> Self:
        """Learn from `data`; the same data, config and seed give the same model."""

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [m, n_items], higher is better, -inf where the model has nothing to say.

        A user index of -1 is a stranger: the whole row is -inf. Memory is m x n_items: call with chunks.
        """

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """One sentence for the shopper per (user, item) pair of equally long arrays."""

    def state(self) -> State:
        """All arrays that `from_state` needs."""

    @classmethod
    def from_state(cls, config: Any, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The model that gave this state: same scores, same reasons."""


@runtime_checkable
class FoldsInUsers(Recommender, Protocol):
    """A model that can speak of users it has not learned from."""

    def with_users(self, users: NewUsers) -> Self:
        """The model with these users in place of its own, without learning anything anew.

        `users.events` names items by their position in this model. Of users of whom nothing is known, or nothing
        that the model understands, it has nothing to say: their whole rows of scores are -inf.
        """


@runtime_checkable
class FoldsInItems(Recommender, Protocol):
    """A model that can speak of items nobody has bought yet."""

    def with_items(self, catalogue: pa.Table) -> Self:
        """The model with those items of the catalogue beside its own that it does not know, from their attributes.

        The catalogue has `item_id` and the columns that the model learned from. Of items of which nothing is known,
        or nothing that the model understands, it has nothing to say: their columns of scores are -inf.
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
    """A model that can tell of many pairs what each feature adds."""

    def attributions(
        self, users: NDArray[np.int32], items: NDArray[np.int32]
    ) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """The features, and what each adds to the log-odds of n pairs [n, features]; rows of NaN where it has nothing
        to say. One of the features is `EVERYBODY`."""
