"""Correct the times of calls by the moment at which the library sent them, as Segment does."""

from datetime import datetime, timedelta
from typing import Final

from models.primitives.json_types import JsonObject
from models.primitives.time import read_moment

SENT_AT: Final = "sentAt"
"""The member with the moment of sending, which differs when a library repeats a call."""

_ON_THE_WAY: Final = timedelta(seconds=5)
"""A smaller difference is the time on the way, so that a repeated call keeps its time."""


def occurred_at(call: JsonObject, received_at: datetime) -> datetime | str:
    """Return the time of a call by the server's clock: `timestamp`, plus the error of the sender's clock.

    The error is the time of receipt minus `sentAt`, which the same clock states. Without `sentAt` the clock counts as
    right, and a call without `timestamp` happened when it was received. A time of another form is returned as it is.
    """
    stated = call.get("timestamp")
    if stated is None or stated == "":
        return received_at
    moment, sent = read_moment(stated), read_moment(call.get(SENT_AT))
    if moment is None:
        return str(stated)
    error = timedelta() if sent is None else received_at - sent
    try:
        return moment if abs(error) <= _ON_THE_WAY else moment + error
    except OverflowError:
        return moment
