"""Storms on the real servers, with the shop that the tests of flows stock."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing import forkserver

import pytest

from tests.faults.storm.conftest import Storm
from tests.flows.conftest import desk, live, shop, stocked
from tests.flows.forked import Command

PRELOADED = "tests.faults.storm.running.steps"
__all__ = ["desk", "live", "shop", "stocked"]


@pytest.fixture(scope="session", autouse=True)
def ready() -> None:
    """Start processes with all imports done, so that kills hit their work and not their start."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["infra.outages", PRELOADED])
    forkserver.ensure_running()


class CommandStorm(Storm):
    """A storm over commands."""

    def kill(self, command: Command, allowed: str = "") -> bool:
        """Kill a command; False if it had ended by itself: well, or with the sentence that is allowed."""
        after = time.monotonic() - command.since
        killed = command.kill()
        self.note("kills" if killed else "ended before the kill", f"{' '.join(command.arguments)} after {after:.2f} s")
        if not killed:
            code, out, err = command.ended()
            assert code == 0 or (allowed and allowed in err), f"{out}\n{err}"
        return killed


@pytest.fixture
def storm(request: pytest.FixtureRequest, seed: int) -> Iterator[CommandStorm]:
    """Return a storm with the seed of the command line; its last line reports the kills."""
    made = CommandStorm(seed)
    yield made
    made.report(request.node.name.removeprefix("test_").replace("_", " "))
