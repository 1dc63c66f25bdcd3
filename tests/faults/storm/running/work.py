"""Processes that call one function on the running shop."""

import multiprocessing
import time
from itertools import count
from pathlib import Path
from typing import Final

from infra.installation import Installation
from tests.faults.storm.conftest import PROGRAM, Run

_FIRST: Final = 201
_MANY: Final = 12
"""The fewest households of which some have demographics; without any, the file of users would be refused."""
_CUTS: Final = 180


class Work:
    """Calls of `function` (module and name) with a number, in processes that can be stopped at a step and killed."""

    def __init__(self, live: Installation, folder: Path, function: str) -> None:
        self._folder, self._numbers = folder, count(1)
        self._module, _, self._name = function.rpartition(".")
        self._context = multiprocessing.get_context("forkserver")
        self._environment = live.endpoints.environment | {"TAILORBIRD_VAR": str(live.settings.var)}

    def start(self, number: int, step: str | None = None) -> Run:
        """Start a process that works on the number, and stops at the step if one is given."""
        program = self._folder / f"{self._name}-{next(self._numbers)}.py"
        body = f"    from {self._module} import {self._name}\n    {self._name}({number}, {step!r}, outcome)"
        program.write_text(PROGRAM.format(environment=self._environment, body=body, rows=500, bytes=64_000))
        return Run(self._context, f"{self._name} {number} to {step}", str(program), program.with_suffix(".json"))

    def stopped(self, number: int, step: str) -> Run:
        """Start a process and wait until it has stopped at the step."""
        run = self.start(number, step)
        while not run.stopped():
            assert run.alive(), (step, run.outcome())
            time.sleep(0.005)
        return run

    def finish(self, number: int) -> None:
        """Finish the work."""
        outcome = self.start(number).outcome()
        assert outcome["kinds"] == [], outcome


def new_households(number: int) -> tuple[int, int]:
    """Return the first and the last id of a cut of the data; the storms have numbers of their own."""
    first = _FIRST + _MANY * (number % _CUTS)
    return first, first + _MANY - 1
