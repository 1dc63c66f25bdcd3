"""Correct the times of calls by the moment at which the library sent them, as Segment does."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from models.primitives.json_types import JsonObject

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
    moment, sent = _moment(stated), _moment(call.get("sentAt"))
    if moment is None:
        return str(stated)
    error = timedelta() if sent is None else received_at - sent
    try:
        return moment if abs(error) <= _ON_THE_WAY else moment + error
    except OverflowError:
        return moment


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
