"""Storms on the real servers, with the shop that the tests of flows stock."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver

import numpy as np
import pytest

from tests.faults.storm.conftest import report
from tests.flows.conftest import desk, live, shop, stocked
from tests.flows.forked import Command

PRELOADED = "tests.faults.storm.running.steps"
__all__ = ["desk", "live", "shop", "stocked"]


@pytest.fixture(scope="session", autouse=True)
def ready() -> None:
    """Start processes with all imports done, so that kills hit their work and not their start."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["infra.outages", PRELOADED])
    forkserver.ensure_running()


@dataclass
class Storm:
    """Moments that a seed decides, and a record of the kills."""

    seed: int
    done: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def wait(self, longest: float) -> None:
        time.sleep(self.random.uniform(0.02, longest))

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def note(self, event: str, detail: str = "") -> None:
        """Count an event, and keep it for the report of a failure."""
        self.done[event] += 1
        self.log.append(f"{event} {detail}".strip())

    def kill(self, command: Command, allowed: str = "") -> bool:
        """Kill a command; False if it had ended by itself: well, or with the sentence that is allowed."""
        after = time.monotonic() - command.since
        killed = command.kill()
        self.note("kills" if killed else "ended before the kill", f"{' '.join(command.arguments)} after {after:.2f} s")
        if not killed:
            code, out, err = command.ended()
            assert code == 0 or (allowed and allowed in err), f"{out}\n{err}"
        return killed

    @contextmanager
    def round(self, number: int) -> Iterator[None]:
        """Run one round; print its seed and its kills if it fails."""
        try:
            yield
        except BaseException:
            print(f"seed {self.seed}, round {number}:", *self.log, sep="\n  ")
            raise
        self.done["rounds that converged"] += 1
        self.log.clear()

    def report(self, name: str) -> None:
        """Report the storm in one line."""
        report(name, self.seed, self.done)


@pytest.fixture
def storm(request: pytest.FixtureRequest, seed: int) -> Iterator[Storm]:
    """Return a storm with the seed of the command line; its last line reports the kills."""
    made = Storm(seed)
    yield made
    made.report(request.node.name.removeprefix("test_").replace("_", " "))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """Return the function that gives the number of kills: from the command line, or the storm's usual one."""
    return lambda usual: request.config.getoption("--kills") or usual
