"""Waits until the answers of a saturated server have moved into the lake: below saturation there is no such backlog."""

import math
from time import monotonic, sleep
from typing import Final

from sqlalchemy import Engine, text

_WAITING: Final = text("SELECT coalesce(sum(messages), 0) FROM event_inbox WHERE kind = 'answers'")
_PATIENCE: Final = 20.0
"""Seconds without progress after which no reconciler seems to run."""


def await_moved(engine: Engine, most: int) -> None:
    """Return when at most this number of answers waits in the inbox, or when nothing moves."""
    least, since = math.inf, monotonic()
    while (waiting := _waiting(engine)) > most and monotonic() - since < _PATIENCE:
        if waiting < least:
            least, since = waiting, monotonic()
        sleep(0.5)


def _waiting(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(_WAITING).scalar_one())
