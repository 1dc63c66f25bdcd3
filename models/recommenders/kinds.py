"""Names the kinds of model, for programs that cannot wait for the import of all of them."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The kinds in `models.catalog`, in its order."""

    MOST_POPULAR = "most_popular"
    SEGMENT_POPULAR = "segment_popular"
    OWN_FREQUENCY = "own_frequency"
    OWN_AND_POPULAR = "own_and_popular"
    LIGHTFM_HYBRID = "lightfm_hybrid"
    ALS = "als"
    CONTENT_BASED = "content_based"
    LOGISTIC_REGRESSION = "logistic_regression"
    TWO_STAGE = "two_stage"
    ITEM_KNN = "item_knn"
    GRAPH_FILTER = "graph_filter"
    SEQUENCE = "sequence"


DEFAULTS: Final = (
    *("most_popular", "segment_popular", "own_frequency", "own_and_popular"),
    *("als", "lightfm_hybrid", "item_knn", "graph_filter", "two_stage"),
)
"""The kinds that are trained and compared by default."""


def options(kinds: Iterable[str]) -> str:
    """Return the command-line options for these kinds, each after a space; none for the defaults."""
    names = list(kinds)
    return "" if {*names} == {*DEFAULTS} else "".join(f" --model {kind}" for kind in names)
