"""Lets work end at any moment, as if its process were killed there."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest


class KilledError(BaseException):
    """The process ends here."""


def ends_at(patch: pytest.MonkeyPatch, moment: int, steps: Sequence[tuple[Any, str]]) -> None:
    """Let work end at a moment of its steps: before the first one, after it, before the second, and so on."""
    moments = iter(range(moment))

    def passes() -> None:
        if next(moments, None) is None:
            raise KilledError

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            passes()
            result = call(*args, **kwargs)
            passes()
            return result

        return run

    for place, name in steps:
        patch.setattr(place, name, wrapped(getattr(place, name)))
