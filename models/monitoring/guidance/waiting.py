"""Replaces the next command by waiting, if the same work is under way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.monitoring.guidance.next_step import Stage, Step

_LEARNING: Final = ("features", "search", "train", "review", "retrain", "demo")
"""Flows on the way from events to a reviewed model: the next command on that way depends on all of them."""
_PUBLISHING: Final = ("score", "retrain", "demo")
"""Flows that may make lists."""


@dataclass(frozen=True)
class Work:
    """A command or a run of the worker that is under way."""

    flow: str
    description: str
    """The work, its start, and the person or component that started it."""


def wait_for(step: Step, under_way: Sequence[Work]) -> Step:
    """Return the step to wait for related work that is under way, else the same step."""
    command = step.command.split()[1]
    works = [work for work in under_way if work.flow in _LEARNING or work.flow == command]
    if not works:
        return step
    names = " and ".join(work.description for work in works)
    ends = "is under way; wait until it has" if len(works) == 1 else "are under way; wait until they have"
    situation = f"{step.situation} {names} {ends} ended."
    return Step(Stage.UNDER_WAY, situation, "tailorbird status", _meanwhile(step, command, works))


def _meanwhile(step: Step, command: str, works: Sequence[Work]) -> str:
    """Return the command that may run meanwhile: a decision, or scoring if no work may make lists."""
    lists = command == "score" and all(work.flow not in _PUBLISHING for work in works)
    return f"Meanwhile you can run `{step.command}`." if command == "decide" or lists else ""
