"""Copies what the parts of a server count into its metrics."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from serving.http import metrics
from serving.model.holder import ReloadFailure
from serving.model.loaded_model import LoadedModel

if TYPE_CHECKING:
    from serving.events.writer import EventWriter

_SECONDS: Final = 1.0
_OUTCOMES: Final = {"stored": "accepted", "conflict": "refused"}
"""Names of outcomes in metrics, where they differ."""


def model_loaded(model: LoadedModel) -> None:
    """Show the loaded champion in place of earlier ones."""
    metrics.show_model(str(model.model_version or ""), model.digest[:12])


def reload_failed(failure: ReloadFailure) -> None:
    """Count a champion that was refused."""
    metrics.RELOAD_FAILURES.labels(failure.reason).inc()


@asynccontextmanager
async def counting(writer: "EventWriter", calls: "EventWriter") -> AsyncIterator[None]:
    """Count messages, impressions and calls meanwhile, and once more at the end."""
    seen: Counter[tuple[str, str]] = Counter()
    task = asyncio.create_task(_repeat(writer, calls, seen))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        copy(writer, calls, seen)


async def _repeat(writer: "EventWriter", calls: "EventWriter", seen: Counter[tuple[str, str]]) -> None:
    while True:
        copy(writer, calls, seen)
        await asyncio.sleep(_SECONDS)


def copy(writer: "EventWriter", calls: "EventWriter", seen: Counter[tuple[str, str]]) -> None:
    """Add what was counted since the last copy."""
    own = writer.counts
    kinds = {"message": own.messages, "impressions": own.impressions, "call": calls.counts.messages}
    for kind, counts in kinds.items():
        for outcome, count in list(counts.items()):
            added = count - seen[kind, outcome]
            if added > 0:
                seen[kind, outcome] = count
                metrics.EVENTS.labels(kind, _OUTCOMES.get(outcome, outcome)).inc(added)
