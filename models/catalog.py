"""The catalogue of models. A new one is a module in `recommenders` or `ranking` and a line in `CATALOG`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.errors import TailorbirdError
from models.ranking.two_stage import LogisticRegression, TwoStage
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.baselines.own_and_popular import OwnAndPopular
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.baselines.segment_popular import SegmentPopular
from models.recommenders.content_based import ContentBased
from models.recommenders.graph_filter import GraphFilter
from models.recommenders.item_based.item_knn import ItemKNN
from models.recommenders.lightfm import LightFMHybrid
from models.recommenders.protocols import Recommender
from models.recommenders.sequence.model import SequenceModel

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

CATALOG: Final[dict[str, type[Recommender]]] = {
    MostPopular.kind: MostPopular,
    SegmentPopular.kind: SegmentPopular,
    OwnFrequency.kind: OwnFrequency,
    OwnAndPopular.kind: OwnAndPopular,
    LightFMHybrid.kind: LightFMHybrid,
    ImplicitALS.kind: ImplicitALS,
    ContentBased.kind: ContentBased,
    LogisticRegression.kind: LogisticRegression,
    TwoStage.kind: TwoStage,
    ItemKNN.kind: ItemKNN,
    GraphFilter.kind: GraphFilter,
    SequenceModel.kind: SequenceModel,
}


def model_type(kind: str) -> type[Recommender]:
    """Return the model class of that kind; raises TailorbirdError, which lists the kinds."""
    try:
        return CATALOG[kind]
    except KeyError:
        raise TailorbirdError(f"There is no model {kind!r}; choose one of: {', '.join(CATALOG)}.") from None


def config(kind: str, values: Mapping[str, Any] | None = None) -> Any:
    """Return the model's settings with `values` over the defaults; raises TailorbirdError."""
    made, given = model_type(kind).config_type, values or {}
    known = {field.name for field in fields(made)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise TailorbirdError(f"{kind} has no setting {', '.join(unknown)}; it has: {', '.join(sorted(known))}.")
    return made(**given)


FEW_REPEATS: Final = 0.1
"""The share of repeat purchases below which shoppers seek new items."""


def defaults(kind: str, repeats: float) -> Any:
    """Return the settings of a model that nobody searched.

    `repeats` is the share of purchases of items that the user had bought before: with few of them, the order of
    purchases says more and old ones say it longer.
    """
    made = model_type(kind)
    few = getattr(made, "few_repeats", None)
    return few if few is not None and repeats < FEW_REPEATS else made.config_type()


def fit(kind: str, data: "TrainingData", settings: Mapping[str, Any], seed: int) -> Recommender:
    """Return a model of that kind with `settings` over the defaults, fitted to the data."""
    return model_type(kind).fit(data, config(kind, settings), seed)


def from_state(kind: str, settings: Mapping[str, Any], state: Mapping[str, np.ndarray[Any, Any]]) -> Recommender:
    """Return a stored model from its kind, its settings as plain values (`dataclasses.asdict`) and its arrays."""
    return model_type(kind).from_state(config(kind, settings), state)
