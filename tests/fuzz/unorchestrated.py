"""Calls flows and tasks directly, without Prefect's server. Parameters are checked as Prefect does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from prefect import Flow, State, Task
from prefect.states import Completed, Failed

from flows.commands import running


@contextmanager
def unorchestrated() -> Iterator[None]:
    """Let commands believe that the services run, and call what they would start."""
    with (
        patch.object(Flow, "__call__", _flow),
        patch.object(Task, "__call__", _task),
        patch.object(running, "connect", lambda *_spared: running.export()),
    ):
        yield


def _flow(flow: Flow[Any, Any], *args: Any, return_state: bool = False, **kwargs: Any) -> Any:
    from prefect.utilities.callables import get_call_parameters

    given = flow.validate_parameters(get_call_parameters(flow.fn, args, kwargs))
    return _called(flow.fn, (), given, return_state)


def _task(task: Task[Any, Any], *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:
    assert wait_for is None
    return _called(task.fn, args, kwargs, return_state)


def _called(call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
    if not return_state:
        return call(*args, **kwargs)
    try:
        return Completed(data=call(*args, **kwargs))
    except Exception as error:
        state: State[Any] = Failed(data=error)
        return state
