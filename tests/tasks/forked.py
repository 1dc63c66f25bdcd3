"""Runs programs in processes forked from one that has imported all tasks: a test can kill them, and waits for no
imports."""

import atexit
import gc
import json
import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

_ROOT = Path(__file__).parents[2]
_IMPORTED = (
    *("great_expectations", "flows.commands.keys", "flows.ingest", "tasks.ingest.undo.undo_batches"),
    *("tasks.ingest.events.ingest_events", "tasks.privacy.rotate", "tasks.privacy.erase_users"),
)


class Ended(NamedTuple):
    """How a program ended: its exit code, minus the signal if one ended it, and what it wrote."""

    code: int
    out: str
    err: str


def run(program: str, *arguments: str) -> Ended:
    """Run Python code as `python -c` does, with this process's environment, and wait for its end."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with TemporaryDirectory() as folder:
        request = {"program": program, "arguments": arguments, "environment": dict(os.environ), "folder": folder}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return Ended(code, *(Path(folder, name).read_text() for name in ("out", "err")))


@cache
def _server() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.tasks.forked"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    gc.disable()  # imports leave little garbage
    import_module("tasks")
    for name in _IMPORTED:
        import_module(name)
    gc.freeze()  # what is there is shared with the programs: looking for garbage would copy it
    gc.enable()
    for line in sys.stdin:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(request: dict[str, object]) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{request['folder']}/{name}", os.O_CREAT | os.O_WRONLY), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[arg-type]
    sys.argv = ["-c", *request["arguments"]]  # type: ignore[misc]
    exec(str(request["program"]), {"__name__": "__main__"})  # noqa: S102 - a program of a test


if __name__ == "__main__":
    _serve()
