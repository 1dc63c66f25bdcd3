"""Shows the progress of long work: a bar or lines in the terminal, and a progress artifact in Prefect."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from infra import outages
from models.primitives.escaping import for_terminal

_SECONDS_BETWEEN = 2.0

Advance = Callable[..., None]
"""A function of the number of finished steps, with an optional `note=`."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show the progress of a task with `total` steps; yields the function that advances it."""
    title = for_terminal(title)
    shown = _terminal if sys.stderr.isatty() else _lines
    artifact = _artifact(title)
    done, last = 0, time.monotonic()
    with shown(title, total) as show:

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal done, last
            done += steps
            note = for_terminal(note)
            show(done, note)
            if artifact and time.monotonic() - last > _SECONDS_BETWEEN:
                last = time.monotonic()
                _update(artifact, 100 * done / max(total, 1), f"{title}: {note}" if note else title)

        yield advance
    if artifact:
        _update(artifact, 100.0)


def _update(artifact: UUID, percent: float, text: str | None = None) -> None:
    """Update the artifact; an outage of Prefect does not end the work."""
    try:
        update_progress_artifact(artifact, progress=percent, description=text)
    except Exception as error:
        if outages.explain(error) is None:
            raise


def _artifact(title: str) -> UUID | None:
    if not (FlowRunContext.get() or TaskRunContext.get()):
        return None
    made = create_progress_artifact(progress=0.0, description=title)
    return made if isinstance(made, UUID) else None


@contextmanager
def _terminal(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


@contextmanager
def _lines(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Print a line at the start and then at most every two seconds, so that a log without a terminal stays readable."""
    started = last = time.monotonic()
    print(f"  {title} …", file=sys.stderr, flush=True)

    def show(done: int, note: str) -> None:
        nonlocal last
        if time.monotonic() - last > _SECONDS_BETWEEN:
            last = time.monotonic()
            part = f"{100 * done // max(total, 1)} % after {last - started:.0f} s"
            print(f"  {title}: {part} {note}", file=sys.stderr, flush=True)

    yield show
