"""Define the limits that a mapping sets for single events and for the metrics of a batch."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_MOST = 10**18
Bounds = tuple[float | None, float | None]
"""Lowest and highest value; None leaves a side open."""


def _side(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST:
        raise ValueError(f'{value!r} is no number; write 0.1, or [1000, ""] with "" for a side that stays open')
    return float(value)


def _bounds(value: Any) -> Bounds:
    """Return the bounds from a number, which is the highest value, or from a list of the lowest and the highest."""
    if not isinstance(value, list | tuple):
        value = ["", value]
    if len(value) != 2:
        raise ValueError('write a number, which is the highest allowed, or [lowest, highest] with "" for an open side')
    low, high = map(_side, value)
    if low is not None and high is not None and low > high:
        raise ValueError(f"the lowest ({low:g}) is above the highest ({high:g})")
    return low, high


Limit = Annotated[Bounds, BeforeValidator(_bounds)]


class Limits(BaseModel):
    """The limits of one event, and the bounds of batch metrics by data set."""

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
