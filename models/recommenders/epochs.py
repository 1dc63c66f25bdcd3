"""The interface between models that learn in many passes over the data, and the task that follows them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData


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
