"""What a server loads once, and how its workers start, run and take connections in turn."""

import asyncio
import errno
import gc
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from uvicorn import Config

from infra.installation import Installation
from serving.api.gate.workers import prepare
from serving.api.startup.forked_workers import BalancedServer, OpenConnections, _Listener
from serving.api.startup.loaded_once import Shared, load_once
from serving.api.startup.warming import settle
from tests.serving.bundle_folders import offer, promote, write_bundle

FORK = multiprocessing.get_context("fork")
PROGRAM = """
import os, threading
from pathlib import Path
from serving.api.startup.__main__ import take_short_slices
os.nice(3)
take_short_slices()
def show():
    print(Path(f"/proc/self/task/{threading.get_native_id()}/sched").read_text(), "niceness :", os.nice(0))
show()
thread = threading.Thread(target=show)
thread.start()
thread.join()
"""


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        one.setblocking(False)
        yield one


class ExhaustedOnce:
    """A socket of a process without free descriptors, which has one later."""

    def __init__(self, real: socket.socket) -> None:
        self.real, self.attempts = real, 0

    def fileno(self) -> int:
        return self.real.fileno()

    def accept(self) -> tuple[socket.socket, object]:
        self.attempts += 1
        if self.attempts == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.real.accept()


def accepted(one: socket.socket | ExhaustedOnce, is_ahead: Callable[[], bool]) -> bool:
    """Return whether a client's connection is taken within seconds."""

    async def work() -> bool:
        taken: asyncio.Queue[socket.socket] = asyncio.Queue()
        listener = _Listener(one, taken.put_nowait, is_ahead)  # type: ignore[arg-type]
        real = one.real if isinstance(one, ExhaustedOnce) else one
        with socket.create_connection(real.getsockname()):
            connection = await asyncio.wait_for(taken.get(), 5)
        connection.close()
        listener.close()
        return taken.empty()

    return asyncio.run(work())


def test_the_place_of_a_worker_that_died_is_free_and_holds_nobody_back() -> None:
    numbers = OpenConnections(FORK)
    dead = FORK.Process(target=int)
    numbers.assign(numbers.free_place(), dead)
    numbers.state(0, 0)
    numbers.state(1, 5)
    assert numbers.free_place() == 1  # it has not ended, as far as is known
    dead.start()
    dead.join()
    assert numbers.free_place() == 0
    assert not numbers.is_ahead(1)


def test_a_worker_that_ends_holds_nobody_back(listening: socket.socket) -> None:
    numbers = OpenConnections(FORK)
    numbers.state(1, 2)

    async def no_application(_scope: object, _receive: object, _send: object) -> None:
        """Answer nothing."""

    async def work() -> None:
        config = Config(no_application, lifespan="off")
        config.load()
        server = BalancedServer(config, numbers, 0)
        server.lifespan = config.lifespan_class(config)
        await server.startup([listening])
        assert numbers.is_ahead(1)
        await server.shutdown()
        server.server_state.connections.discard(object())  # type: ignore[arg-type]

    asyncio.run(work())
    assert not numbers.is_ahead(1)


def test_a_connection_that_no_other_worker_takes_is_taken_by_one_that_is_ahead(listening: socket.socket) -> None:
    assert accepted(listening, lambda: True)


def test_a_process_without_free_descriptors_tries_again(
    listening: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    assert accepted(ExhaustedOnce(listening), lambda: False)
    assert "No connection can be accepted: Too many open files." in caplog.text


def loaded(installation: Installation) -> Shared:
    """Load in a thread, whose libraries keep one processor."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(load_once, installation.settings).result()


def test_everything_is_built_from_one_champion_and_one_catalogue(installation: Installation, tmp_path: Path) -> None:
    assert loaded(installation).model is None
    digest = write_bundle(tmp_path / "first")
    names = offer(installation.engine, tmp_path / "first", digest)
    promote(installation.engine, tmp_path / "first", digest, 1)
    before = threading.active_count()
    shared = loaded(installation)
    assert threading.active_count() == before, "a process with threads cannot be forked"
    assert shared.model is not None
    assert shared.catalogue is not None
    assert shared.aligned is not None
    assert shared.best is not None
    assert shared.titles is not None
    catalogue = shared.catalogue.catalogue
    assert shared.titles.titles.names == names
    assert (shared.titles.digest, shared.titles.titles.generation) == (digest, catalogue.generation)
    assert shared.aligned.made_from == (digest, catalogue.generation)
    assert (shared.best.model, shared.best.catalogue) == (shared.model, catalogue)
    assert set(shared.best.placements) >= {"home"}


@pytest.fixture
def unsettled() -> Iterator[None]:
    """Give the test's process its own settings back."""
    thresholds, turn = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(turn)


@pytest.mark.usefixtures("unsettled")
def test_until_the_first_request_nothing_is_collected_and_then_what_is_new_in_short_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    usual = sys.getswitchinterval()
    prepare()
    assert not gc.isenabled()
    during = sys.getswitchinterval()
    settle()
    assert gc.isenabled()
    assert len(gc.get_objects()) < 1_000, "what was there before is looked at"
    assert gc.get_threshold()[0] <= 1_000
    assert during < sys.getswitchinterval() < usual


def slices_and_niceness(path: str) -> tuple[list[int], list[int]]:
    """Return what the main thread and a thread that it starts have, of a process that asked for short slices."""
    environment = {**os.environ, "PATH": path}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True)
    return (
        [int(value) for value in re.findall(r"se\.slice +: +(\d+)", done.stdout)],
        [int(value) for value in re.findall(r"niceness : (\d+)", done.stdout)],
    )


def test_a_process_and_its_threads_get_short_slices_with_chrt_and_keep_their_niceness(tmp_path: Path) -> None:
    usual, niceness = slices_and_niceness(str(tmp_path))  # without chrt nothing changes
    assert niceness == [os.nice(0) + 3] * 2
    command = ["chrt", "--other", "--sched-runtime", "100000", "0", "true"]
    if not usual or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("the kernel or chrt has no slices of one process")
    assert slices_and_niceness(os.environ["PATH"]) == ([100_000, 100_000], niceness)
    assert 100_000 not in usual
