"""Ends the services of an installation at once: `down` waits for each of them, which costs a quarter of a minute."""

import signal
from contextlib import suppress
from pathlib import Path

import psutil

from infra.services import state_file


def kill_services(var: Path) -> None:
    """Kill all services and what they started. PostgreSQL ends by itself, so that it frees its shared memory."""
    known = state_file.load(var).items()
    running = {name: psutil.Process(one.running.pid) for name, one in known if one.running and one.alive}
    postgres = running.pop("postgres", None)
    ending = [each for first in running.values() for each in (first, *first.children(recursive=True))]
    for process in ending:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    if postgres is not None:
        postgres.send_signal(signal.SIGQUIT)
        ending.append(postgres)
    psutil.wait_procs(ending, 10)
