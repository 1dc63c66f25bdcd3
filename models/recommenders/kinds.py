"""Names the kinds of model, for programs that cannot wait until all of them are imported."""

from enum import StrEnum


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
