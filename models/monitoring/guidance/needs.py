"""States what each command needs before it can run."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from models.monitoring.guidance.next_step import next_step
from models.monitoring.guidance.situation import Situation

Need = Callable[[Situation], bool]


def _events(now: Situation) -> bool:
    return bool(now.events)


def _dataset(now: Situation) -> bool:
    return now.dataset is not None


def _review(now: Situation) -> bool:
    return now.review is not None


def _champion(now: Situation) -> bool:
    return now.champion is not None


NEEDS: Final[Mapping[str, Need]] = MappingProxyType(
    {
        "features": _events,
        "retrain": _events,
        "search": _dataset,
        "train": _dataset,
        "validate": _dataset,
        "review": _dataset,
        "decide": _review,
        "score": _champion,
        "monitor": _champion,
        "audit": _champion,
        "recommend": _champion,
        "goes-with": _champion,
        "explain": _champion,
        "rollback model": _champion,
    }
)
"""Commands that are not listed need nothing."""


def refusal(command: str, now: Situation) -> str | None:
    """Return why a command cannot run yet, with the next one; None if it can."""
    need = NEEDS.get(command)
    return None if need is None or need(now) else str(next_step(now))
