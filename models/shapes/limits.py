"""Thresholds that a mapping sets for a batch: between which numbers a figure of it has to lie."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

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
    """Figures and their bounds, by data set. Which figures there are is known to who judges the batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    events: dict[str, Limit] = {}
    items: dict[str, Limit] = {}
    users: dict[str, Limit] = {}
