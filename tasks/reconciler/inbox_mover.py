"""Moves the inbox beside the reconciler's rounds, in threads of its own: a move may wait for a long ingest."""

from collections.abc import Callable
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from sqlalchemy import exists, select

from infra.database.schema.serving_schema import event_inbox
from infra.installation import current
from infra.outages import explain
from tasks.ingest.inbox.finish_batch import remove_outdated

if TYPE_CHECKING:
    from tasks.ingest.inbox.messages import Dataset

_PAUSES: Final["dict[Dataset, float]"] = {"updates": 2.0, "events": 5.0, "calls": 5.0}
"""Seconds between two looks into the inbox."""
_ANY_MESSAGE: Final = select(exists(select(event_inbox.c.inbox_id)))
"""Whether the inbox has a message, moved or not."""


def start_inbox_mover(report: Callable[[str], None], stop: Event | None = None) -> list[Thread]:
    """Start to move updates within seconds, and acts and impressions when they are due."""
    ended = stop or Event()
    threads = [Thread(target=_run, args=(name, report, ended), name=f"inbox {name}", daemon=True) for name in _PAUSES]
    for thread in threads:
        thread.start()
    return threads


def _run(dataset: "Dataset", report: Callable[[str], None], ended: Event) -> None:
    printed = ""
    while not ended.wait(_PAUSES[dataset]):
        problem = _move(dataset)
        if problem and problem != printed:  # a lasting outage is printed once
            report(f"The {dataset} of the inbox wait: {problem}")
        printed = problem


def _move(dataset: "Dataset") -> str:
    """Move what is due; returns the problem, if there is one."""
    try:
        installation = current()
        with installation.engine.begin() as connection:
            used = connection.execute(_ANY_MESSAGE).scalar_one()
            if not used:
                remove_outdated(connection)
        if used:  # the import takes a second, because it takes Prefect along, and many installations have no message
            from tasks.ingest.inbox.move_inbox import NOW, due_of, move_inbox

            move_inbox(installation, dataset, NOW if dataset == "updates" else due_of(installation))
    except Exception as error:
        return explain(error) or f"{type(error).__name__}: {error}"
    return ""
