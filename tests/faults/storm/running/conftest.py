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

from tests.faults.storm.reports import report
from tests.flows.conftest import cut, desk, live, shop, stocked
from tests.flows.forked import Command

PRELOADED = [f"tests.faults.storm.running.{name}" for name in ("promoting", "searching", "training")]
__all__ = ["cut", "desk", "live", "shop", "stocked"]


@pytest.fixture(scope="session", autouse=True)
def ready() -> None:
    """Processes begin with all imports done, so that they are killed at work and not while they start."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["infra.outages", *PRELOADED])
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
        """One round: its seed and its kills are printed when it fails."""
        try:
            yield
        except BaseException:
            print(f"seed {self.seed}, round {number}:", *self.log, sep="\n  ")
            raise
        self.done["rounds that converged"] += 1
        self.log.clear()

    def report(self, name: str) -> None:
        """Say in a line what the storm did."""
        report(name, self.seed, self.done)


@pytest.fixture
def storm(request: pytest.FixtureRequest) -> Iterator[Storm]:
    """A storm with the seed of the command line; its last line says what was done."""
    made = Storm(request.config.getoption("--seed"))
    yield made
    made.report(request.node.name.removeprefix("test_").replace("_", " "))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How many kills a storm has to make: by the command line, or as many as the storm says."""
    return lambda usual: request.config.getoption("--kills") or usual
