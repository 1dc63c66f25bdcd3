"""Moves the inbox: every message once, in batches that are claimed before anything is written."""

from collections.abc import Callable
from typing import Final

from infra.installation import Installation
from infra.locks import advisory_locks
from infra.locks.advisory_locks import LockHeldError
from tasks.ingest import ledger
from tasks.ingest.inbox import claims
from tasks.ingest.inbox.claims import Dataset, Due
from tasks.ingest.inbox.finish_batch import remove_outdated
from tasks.ingest.inbox.move_events import move_calls, move_events
from tasks.ingest.inbox.move_updates import move_updates

NOW: Final = Due()
"""Every waiting row is due."""
_MOVES: Final[dict[Dataset, Callable[[Installation, ledger.Batch], None]]] = {
    "updates": move_updates,
    "events": move_events,
    "calls": move_calls,
}


def due_of(installation: Installation) -> Due:
    """Return when acts and impressions become a batch, by the settings."""
    return Due(installation.settings.inbox_seconds, installation.settings.inbox_rows)


def move_inbox(installation: Installation, dataset: Dataset, due: Due, *, wait: bool = False) -> list[str]:
    """Move the rows that an earlier run claimed, then all that are due; returns the batches.

    A batch that another process moves now is left to it, or with `wait` it is also moved when this returns. Raises the
    error of the first batch that failed, after the others were moved: an old batch that fails holds no new rows back,
    but after a new one that fails no more rows are claimed.
    """
    moved: list[str] = []
    errors: list[Exception] = []

    def move(batches: list[ledger.Batch]) -> None:
        for batch in batches:
            try:
                if _is_moved(installation, dataset, batch, wait=wait):
                    moved.append(batch.batch_id)
            except Exception as error:  # a defect in one batch must not hold the others back
                errors.append(error)

    with installation.engine.connect() as connection:
        batches = claims.claimed(connection, dataset)
    move(batches)
    earlier = len(errors)
    while len(errors) == earlier:
        with installation.engine.begin() as connection:
            batches = claims.claim(connection, dataset, due)
        if not batches:
            break
        move(batches)
    with installation.engine.begin() as connection:
        remove_outdated(connection)
    if errors:
        raise errors[0]
    return moved


def _is_moved(installation: Installation, dataset: Dataset, batch: ledger.Batch, *, wait: bool) -> bool:
    """Move a batch; returns False if another process moves it now, unless this may `wait`."""
    while True:
        try:
            _MOVES[dataset](installation, batch)
        except LockHeldError:
            if not wait:
                return False
            with advisory_locks.locked(installation.engine, batch.batch_id, wait=True):
                continue  # it has ended, or was killed and this process goes on
        return True
