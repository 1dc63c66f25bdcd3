"""Label the events of users after a cut, for models to predict. `impression_labels` labels impressions.

Only impressions give negatives: a user who did not buy an item may never have seen it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Self, get_args

import narwhals as nw

from models.columns import EVENT_TYPE, ITEM_ID, OCCURRED_AT, PURCHASE, RECEIVED_AT, USER_KEY
from models.errors import TailorbirdError
from models.features.expressions import Frame, known, not_refunded
from models.features.tables.session_features import ENGAGEMENT

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

_DAY: Final = 86_400
_PAIR: Final = (USER_KEY, ITEM_ID)


class LabelError(TailorbirdError):
    """The labels cannot be made."""


@dataclass(frozen=True)
class LabelConfig:
    """How labels are made. Raises LabelError for invalid values."""

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
            raise LabelError(f"No label {self.kind!r}: choose one of {', '.join(get_args(Kind))}.")
        if not ((self.horizon_days is None or self.horizon_days > 0) and self.attribution_days > 0):
            raise LabelError("horizon_days and attribution_days must be above 0.")
        if self.kind == "engagement" and not any(weight > 0 for weight in self.weights.values()):
            raise LabelError("Engagement needs an event type with a weight above 0.")

    @property
    def horizon(self) -> int:
        """Return the horizon in seconds. Raises LabelError if none was chosen."""
        if self.horizon_days is None:
            raise LabelError("These labels need horizon_days: how long after the cut to look.")
        return round(self.horizon_days * _DAY)

    def until(self, seconds: int) -> Self:
        """Return the config with a horizon of this many seconds if none was chosen."""
        return self if self.horizon_days is not None else replace(self, horizon_days=seconds / _DAY)

    @property
    def window(self) -> int:
        """Return the attribution window in seconds."""
        return round(self.attribution_days * _DAY)

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
    known, or for engagement known completely. Training at `known_at` must not use later arrivals: raises LabelError
    if the horizon is not over by then.
    """
    end = cut + config.horizon
    if known_at is not None and known_at < end:
        raise LabelError(f"The labels from {cut} on are complete at {end}, after {known_at}: cut earlier.")
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
