"""Correct the times of calls by the moment at which the library sent them, as Segment does."""

from datetime import datetime, timedelta
from typing import Final

from models.primitives.json_types import JsonObject
from models.primitives.time import read_moment

SENT_AT: Final = "sentAt"
"""The member with the moment of sending, which differs when a library repeats a call."""

_ON_THE_WAY: Final = timedelta(seconds=5)
"""A smaller difference is the time on the way, so that a repeated call keeps its time."""
_QUARTER: Final = timedelta(minutes=15)
"""All time zones differ from UTC by multiples of it."""


def occurred_at(call: JsonObject, received_at: datetime) -> datetime | str:
    """Return the time of a call by the server's clock: `timestamp`, plus the error of the sender's clock.

    The error is the time of receipt minus `sentAt`, which the same clock states. If neither time names a zone, as in
    Segment's library for Flutter, the error contains the zone of the sender; if only one does, they are not of one
    clock. Without `sentAt` the clock counts as right, and a call without `timestamp` happened when it was received. A
    time of another form is returned as it is.
    """
    stated = call.get("timestamp")
    if stated is None or stated == "":
        return received_at
    moment, sent = read_moment(stated), read_moment(call.get(SENT_AT))
    if moment is None:
        return str(stated)
    is_local = _names_no_zone(stated)
    if sent is None or is_local != _names_no_zone(call[SENT_AT]):
        return moment
    error = received_at - sent
    zone = _QUARTER * round(error / _QUARTER) if is_local else timedelta()
    try:
        return moment + (zone if abs(error - zone) <= _ON_THE_WAY else error)
    except OverflowError:
        return moment


def _names_no_zone(stated: str) -> bool:
    return datetime.fromisoformat(stated).tzinfo is None
