"""Finds robots, internal users and unusable ids while the raw values are there: the inbox holds only the marks."""

from functools import lru_cache
from typing import Final

import pyarrow as pa

from models import columns
from models.ingest.segment.single_calls import SingleCall
from models.ingest.traffic_filter import INTERNAL, LONGEST_ID, ROBOT, USER_ID_TOO_LONG, Traffic, marked

_REMEMBERED: Final = 10_000
_LONGEST_AGENT: Final = 1_000


class TrafficMarks:
    """Applies a source's rules of traffic to single calls."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic, self._internal_users = traffic, frozenset(traffic.internal_users)
        self._of_origin = lru_cache(_REMEMBERED)(self._find)

    def of(self, call: SingleCall) -> list[str]:
        """Return the marks of a call; mostly none."""
        marks = []
        if call.user_agent or call.address:
            marks += self._of_origin((call.user_agent or "")[:_LONGEST_AGENT], (call.address or "")[:LONGEST_ID])
        user = call.user_id or call.device_id
        if user in self._internal_users and INTERNAL not in marks:
            marks.append(INTERNAL)
        if user and len(user) > LONGEST_ID:
            marks.append(USER_ID_TOO_LONG)
        return marks

    def _find(self, agent: str, address: str) -> list[str]:
        rows = pa.table({columns.USER_ID: [""], columns.USER_AGENT: [agent], columns.IP: [address]})
        found = marked(rows, self._traffic)
        return [mark for mark in (ROBOT, INTERNAL) if found[mark][0].as_py()]
