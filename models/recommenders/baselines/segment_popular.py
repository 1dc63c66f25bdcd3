"""The best sellers of each user's segment: a baseline of personalization, and the lists of new users with traits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.columns import USER_KEY
from models.errors import NoHistoryError
from models.features.segments.segmentation import DEMOGRAPHIC, KINDS, Segments
from models.features.segments.trait_clusters import UNKNOWN, Demographics
from models.primitives.arrow_types import pa, pc
from models.primitives.state import Part, StoredModel
from models.primitives.vocabulary import index_of
from models.recommenders.baselines.most_popular import popularity, popularity_by
from models.recommenders.explanations.sentences import popular_reasons, recent_buyers
from models.recommenders.search_space import Choice, Float, Parameter

if TYPE_CHECKING:
    from models.datasets.cold_start import NewUsers
    from models.datasets.training_data import TrainingData

ALL_USERS: Final = 0
"""The row of all users together, for users without a segment."""


@dataclass(frozen=True)
class Config:
    """Settings of SegmentPopular."""

    segments: str = DEMOGRAPHIC
    """`demographic`, by traits, which new users have too; or `rfm`, by purchases."""
    half_life_days: float = 28.0
    """A purchase this old counts half."""


BY_TRAITS: Final = Config(segments=DEMOGRAPHIC)
"""The settings for users whom a model does not score."""


@dataclass(frozen=True)
class SegmentPopular(StoredModel):
    """Scores an item by the baskets of the user's segment with it, each halved in weight every `half_life_days`.

    It has no scores for items that the segment has not bought.
    """

    kind: ClassVar[str] = "segment_popular"
    config_type: ClassVar[type[Config]] = Config
    space: ClassVar[Mapping[str, Parameter]] = {
        "segments": Choice(KINDS),
        "half_life_days": Float(3, 120, log=True),
    }

    stored: ClassVar[Mapping[str, Part]] = {"demographics": Part(Demographics.state, Demographics.from_state)}

    names: NDArray[np.str_]
    """[n_segments] names of the rows of `popularity`; the first is empty and stands for all users."""
    segment: NDArray[np.int32]
    """[n_users] each user's row; -1 for a new user without traits."""
    popularity: NDArray[np.float32]
    """[n_segments, n_items] decayed baskets, times `seasonal_change`."""
    buyers: NDArray[np.int32]
    """[n_items] users of all segments who bought the item in recent days."""
    demographics: Demographics

    @classmethod
    def fit(cls, data: TrainingData, config: Config, seed: int) -> Self:
        """Put the users into segments by their features and traits at the cut, and count the baskets of each.

        Raises NoHistoryError if the data have no origin.
        """
        if data.origin is None:
            raise NoHistoryError(f"{cls.kind} learns from features and traits: give it data of a data set.")
        tables = data.origin.features(data.cut).users, data.origin.traits(data.cut)
        # The tables may contain other users, whom the model must not see.
        own_rows = (np.flatnonzero(data.user_index(table[USER_KEY]) >= 0) for table in tables)
        features, traits = (table.take(rows) for table, rows in zip(tables, own_rows, strict=True))
        segments = Segments.fit(features, traits, seed)
        assigned = segments.assign(features, traits)
        keys = pa.array(data.users.tolist(), pa.string())
        own = assigned[config.segments].take(pc.index_in(keys, value_set=assigned[USER_KEY])).to_pylist()
        names = np.array(["", *sorted(set(own) - {UNKNOWN})], dtype=np.str_)
        segment = np.maximum(index_of(names, pa.array(own, pa.string())), ALL_USERS)
        by_segment = popularity_by(data, segment, len(names), config.half_life_days)
        by_segment[ALL_USERS] = popularity(data, config.half_life_days)
        return cls(
            config, data.users, data.items, names, segment, by_segment, recent_buyers(data), segments.demographics
        )

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return one row per segment; -inf for strangers and for items that the segment has not bought."""
        segment = self._segment(users)
        bought = self.popularity[np.maximum(segment, ALL_USERS)]
        scored = (segment >= ALL_USERS)[:, None] & (bought > 0)
        return np.where(scored, bought, np.float32(-np.inf))

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:  # noqa: ARG002
        """Return how many users bought each item; segments stay unnamed, because they would disclose traits."""
        return popular_reasons(self.buyers, items)

    def with_users(self, users: NewUsers) -> Self:
        """Return the model of users by their traits; segments by purchases have no new users."""
        known = users.traits if self.config.segments == DEMOGRAPHIC else None
        segment_names = np.full(len(users.keys), UNKNOWN) if known is None else self.demographics.assign(known)
        return replace(self, users=users.keys, segment=index_of(self.names, segment_names))

    def _segment(self, users: NDArray[np.int32]) -> NDArray[np.int32]:
        segment = np.full(len(users), -1, dtype=np.int32)
        segment[users >= 0] = self.segment[users[users >= 0]]
        return segment
