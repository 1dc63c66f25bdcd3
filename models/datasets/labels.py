"""Label what users did after a cut, for models to predict; and impressions, by whether the user responded.

Only impressions give negatives: a user who did not buy an item may never have seen it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Self, get_args

import narwhals as nw

from models.columns import (
    EVENT_TYPE,
    ITEM_ID,
    OCCURRED_AT,
    PLACEMENT,
    POSITION,
    PURCHASE,
    RECEIVED_AT,
    RECOMMENDATION_ID,
    USER_KEY,
)
from models.errors import TailorbirdError
from models.features.expressions import Frame, known, not_refunded
from models.features.tables.user_features import ENGAGEMENT
from models.primitives.time import DAY

LABEL: Final = "label"
WEIGHT: Final = "weight"
LABELLED_AT: Final = "labelled_at"

Kind = Literal["click", "add_to_cart", "purchase", "engagement"]
FUNNEL: Final[Mapping[str, tuple[str, ...]]] = {
    "click": ("click", "view", "consume"),
    "add_to_cart": ("add_to_cart",),
    "purchase": (PURCHASE,),
}
"""The event types of each step from a view to a purchase. Shops call opening an item click, view or consume."""

_PAIR: Final = (USER_KEY, ITEM_ID)


@dataclass(frozen=True)
class LabelConfig:
    """How labels are made. Raises TailorbirdError for invalid values."""

    kind: Kind = "click"
    """The meaning of a 1: a step of `FUNNEL`, or engagement of any kind."""
    horizon_days: float | None = None
    """The days after the cut that `labels` reads; without them the caller sets the horizon (`until`)."""
    attribution_days: float = 1.0
    """The days in which an impression gets credit for later events."""
    weights: Mapping[str, float] = field(default_factory=lambda: {name: w for w, names in ENGAGEMENT for name in names})
    """Engagement by event type, below 0 for a sign of dislike; other types count 0."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise TailorbirdError(f"No label {self.kind!r}: choose one of {', '.join(get_args(Kind))}.")
        if not ((self.horizon_days is None or self.horizon_days > 0) and self.attribution_days > 0):
            raise TailorbirdError("horizon_days and attribution_days must be above 0.")
        if self.kind == "engagement" and not any(weight > 0 for weight in self.weights.values()):
            raise TailorbirdError("Engagement needs an event type with a weight above 0.")

    @property
    def horizon(self) -> int:
        """Return the horizon in seconds. Raises TailorbirdError if none was chosen."""
        if self.horizon_days is None:
            raise TailorbirdError("These labels need horizon_days: how long after the cut to look.")
        return round(self.horizon_days * DAY)

    def until(self, seconds: int) -> Self:
        """Return the config with a horizon of this many seconds if none was chosen."""
        return self if self.horizon_days is not None else replace(self, horizon_days=seconds / DAY)

    @property
    def window(self) -> int:
        """Return the attribution window in seconds."""
        return round(self.attribution_days * DAY)

    def as_dict(self) -> dict[str, object]:
        """Return the values as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild the config from its values; a missing value has its default."""
        return cls(**values)


def labels(events: Frame, cut: int, config: LabelConfig, known_at: int | None = None) -> Frame:
    """Return one row per user and item with events of the kind in [`cut`, `cut` + horizon), in epoch seconds.

    Columns: user_key and item_id; `label`, which is 1, or 0 for negative engagement; `weight`, the number of such
    events, or the absolute engagement (a sum of 0 is left out); `labelled_at`, the time when the label was first
    known, or for engagement known completely. Training at `known_at` must not use later arrivals: raises
    TailorbirdError if the horizon is not over by then.
    """
    end = cut + config.horizon
    if known_at is not None and known_at < end:
        raise TailorbirdError(f"The labels from {cut} on are complete at {end}, after {known_at}: cut earlier.")
    at = nw.col(OCCURRED_AT)
    rows = not_refunded(events) if known_at is None else known(events, known_at)
    rows = rows.filter(at >= cut, at < end)
    first_known = nw.max_horizontal(OCCURRED_AT, RECEIVED_AT)
    rows = rows.with_columns(first_known.alias(LABELLED_AT), _strength(config).alias(WEIGHT))
    moment = nw.col(LABELLED_AT)
    moment = moment.max() if config.kind == "engagement" else moment.min()
    return (
        rows.filter(nw.col(WEIGHT) != 0)
        .group_by(*_PAIR)
        .agg(nw.col(WEIGHT).sum(), moment)
        .filter(nw.col(WEIGHT) != 0)
        .with_columns((nw.col(WEIGHT) > 0).cast(nw.Int64).alias(LABEL), nw.col(WEIGHT).abs())
        .select(*_PAIR, LABEL, WEIGHT, LABELLED_AT)
    )


def _strength(config: LabelConfig) -> nw.Expr:
    """Return the weight of an event."""
    kind, strength = nw.col(EVENT_TYPE), nw.lit(0.0)
    weights = config.weights if config.kind == "engagement" else dict.fromkeys(FUNNEL[config.kind], 1.0)
    for name, weight in weights.items():
        strength = nw.when(kind == name).then(nw.lit(float(weight))).otherwise(strength)
    return strength


SHOWN_AT: Final = "shown_at"
IMPRESSION: Final = "impression"

_SHOWN: Final = (*_PAIR, RECOMMENDATION_ID)


def impressions(events: Frame, start: int, end: int, config: LabelConfig) -> Frame:
    """Return one row per impression of a recommended item in [`start`, `end`) whose window is over at `end` (epoch s).

    Columns: user_key, item_id, recommendation_id, placement, position, shown_at, and `label`: 1 if the user
    responded inside [shown_at, shown_at + window), else 0. Only events known at `end` are used. An impression whose
    window is still open is left out, because its 0 could become a 1.

    A response is an event of the config's step or a later one with the same user, item and recommendation_id. After
    the click it may lack the recommendation_id if the user clicked the item in its window, because a checkout often
    loses the id. A response counts for one impression, the latest at or before it. Of equally late ones the
    alphabetically first recommendation counts. The same item shown twice in one second under one recommendation is
    one impression with its smallest position. An impression without recommendation_id cannot be joined and is left
    out.
    """
    known_events = known(events, end)
    shown = _shown(known_events, start)
    responded = _responded(known_events, shown, config)
    return (
        shown.filter(nw.col(SHOWN_AT) <= end - config.window)
        .join(responded.with_columns(nw.lit(1).alias(LABEL)), on=[*_SHOWN, SHOWN_AT], how="left")
        .with_columns(nw.col(LABEL).fill_null(0).cast(nw.Int64))
        .select(*_SHOWN, PLACEMENT, POSITION, SHOWN_AT, LABEL)
    )


def _shown(events: Frame, start: int) -> Frame:
    return (
        events.filter(
            nw.col(EVENT_TYPE) == IMPRESSION, nw.col(OCCURRED_AT) >= start, ~nw.col(RECOMMENDATION_ID).is_null()
        )
        .with_columns(nw.col(OCCURRED_AT).alias(SHOWN_AT))
        .group_by(*_SHOWN, SHOWN_AT)
        .agg(nw.col(PLACEMENT).min(), nw.col(POSITION).min())
    )


def _responded(events: Frame, shown: Frame, config: LabelConfig) -> Frame:
    """Return the impressions with a response: `_SHOWN` and `shown_at`, each once."""
    responses, clicks = _response_types(config), FUNNEL["click"]
    with_id = _credited(events, shown, responses, config.window).select(*_SHOWN, SHOWN_AT)
    if set(clicks) <= set(responses):
        return with_id.unique()
    clicked = _credited(events, shown, clicks, config.window)
    without_id = _credited_by_click(events, clicked, responses, config.window).select(*_SHOWN, SHOWN_AT)
    return nw.concat([with_id, without_id]).unique()


def _response_types(config: LabelConfig) -> tuple[str, ...]:
    """Return the event types that make the label of an impression 1."""
    if config.kind == "engagement":
        return tuple(kind for kind, weight in config.weights.items() if weight > 0 and kind != IMPRESSION)
    steps = tuple(FUNNEL)
    return tuple(kind for step in steps[steps.index(config.kind) :] for kind in FUNNEL[step])


def _credited(events: Frame, shown: Frame, kinds: tuple[str, ...], window: int) -> Frame:
    """Return each event of these types with a recommendation_id, and the latest impression that it responds to."""
    acts = events.filter(nw.col(EVENT_TYPE).is_in(kinds)).select(*_SHOWN, OCCURRED_AT)
    pairs = acts.join(shown.select(*_SHOWN, SHOWN_AT), on=list(_SHOWN), how="inner")
    return pairs.filter(_inside(window)).group_by(*_SHOWN, OCCURRED_AT).agg(nw.col(SHOWN_AT).max())


def _credited_by_click(events: Frame, clicked: Frame, kinds: tuple[str, ...], window: int) -> Frame:
    """Return each event of these types without a recommendation_id, and the latest impression clicked before it."""
    bare = events.filter(nw.col(EVENT_TYPE).is_in(kinds), nw.col(RECOMMENDATION_ID).is_null())
    acts = bare.select(*_PAIR, OCCURRED_AT).unique()
    clicks = clicked.group_by(*_SHOWN, SHOWN_AT).agg(nw.col(OCCURRED_AT).min().alias("_clicked_at"))
    pairs = acts.join(clicks, on=list(_PAIR), how="inner")
    pairs = pairs.filter(_inside(window), nw.col("_clicked_at") <= nw.col(OCCURRED_AT))
    latest = pairs.group_by(*_PAIR, OCCURRED_AT).agg(nw.col(SHOWN_AT).max())
    return (
        pairs.join(latest, on=[*_PAIR, OCCURRED_AT, SHOWN_AT], how="inner")
        .group_by(*_PAIR, OCCURRED_AT, SHOWN_AT)
        .agg(nw.col(RECOMMENDATION_ID).min())
    )


def _inside(window: int) -> nw.Expr:
    after = nw.col(OCCURRED_AT) - nw.col(SHOWN_AT)
    return (after >= 0) & (after < window)
