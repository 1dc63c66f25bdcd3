"""Measures how long the pointer takes to move while a reader transaction is open for seconds."""

import time
from typing import Final

from sqlalchemy import text

from infra.installation import Installation
from tasks.scoring import batch_state

_TIMES: Final = 20
_FENCE: Final = text("SELECT nextval('recommendation_fence')")
_READ: Final = text("SELECT item_id FROM current_recommendations WHERE placement = 'seen' LIMIT 1000")


def flip_ms(installation: Installation) -> float:
    """Return the longest of some moves back and forth behind an open reader transaction, from update to commit."""
    with installation.engine.connect() as reader:
        reader.execute(_READ).all()
        with installation.engine.connect() as connection:
            live = batch_state.live_batch(connection, "seen")
            other = batch_state.live_batch(connection, "capped")
        assert live is not None
        assert other is not None
        return max(_flip(installation, *((live, other), (other, live))[turn % 2]) for turn in range(_TIMES)) * 1000


def _flip(installation: Installation, expected: int, batch_id: int) -> float:
    with installation.engine.begin() as connection:
        fence = connection.execute(_FENCE).scalar_one()
        started = time.perf_counter()
        batch_state.move_pointer(connection, "seen", expected, {"batch_id": batch_id, "fence": fence})
    return time.perf_counter() - started
