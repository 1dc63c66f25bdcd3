"""Thresholds that a mapping sets: for single events, and for the figures of a batch."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_MOST = 10**18
Bounds = tuple[float | None, float | None]
"""Lowest and highest; None leaves a side open."""


def _side(said: Any) -> float | None:
    if said is None or said == "":
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not abs(said) <= _MOST:
        raise ValueError(f'{said!r} is no number; write 0.1, or [1000, ""] with "" for a side that stays open')
    return float(said)


def _bounds(said: Any) -> Bounds:
    """A number is the highest that is allowed; a list is the lowest and the highest."""
    if not isinstance(said, list | tuple):
        said = ["", said]
    if len(said) != 2:
        raise ValueError('write a number, which is the highest allowed, or [lowest, highest] with "" for an open side')
    low, high = map(_side, said)
    if low is not None and high is not None and low > high:
        raise ValueError(f"the lowest ({low:g}) is above the highest ({high:g})")
    return low, high


Limit = Annotated[Bounds, BeforeValidator(_bounds)]


class Limits(BaseModel):
    """The most that one event may say, and by data set the bounds of a batch's figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    events: dict[str, Limit] = {}
    """Bounds for the figures of a batch of events; outside them it is refused."""
    items: dict[str, Limit] = {}
    """The same for a file of items."""
    users: dict[str, Limit] = {}
    """The same for a file of users."""
    highest_quantity: float = Field(default=1_000.0, gt=0, le=_MOST)
    """The most pieces in one event; events with more wait in quarantine."""
    highest_value: float = Field(default=1e9, gt=0, le=_MOST)
    """The highest value of one event, in any currency; in some currencies a sofa costs ten million."""
