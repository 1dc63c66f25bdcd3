"""The command line without the seconds its imports take: forked from a process that has imported every flow.

What a test sees is a process of its own with its own environment, output and exit code, as from `python -m flows`.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile

from flows.__main__ import main
from flows.commands import running

_FLOWS = Path(__file__).parents[2] / "flows"


class Commands:
    """A process that waits with everything imported; `run` has it forked for each command."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._server, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            command = [sys.executable, "-m", "tests.flows.forked", str(there.fileno())]
            self._process = subprocess.Popen(command, env=environment, pass_fds=[there.fileno()], cwd=_FLOWS.parent)

    def run(self, arguments: tuple[str, ...], environment: dict[str, str]) -> tuple[int, str, str]:
        """The exit code of a command, what it printed and what it said."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            with theirs:
                request = json.dumps({"arguments": arguments, "environment": environment, "folder": str(Path.cwd())})
                fds = [out.fileno(), err.fileno(), theirs.fileno()]
                socket.send_fds(self._server, [request.encode()], fds)
            ours.settimeout(400)
            code = int(ours.recv(16) or -1)
            out.seek(0)
            err.seek(0)
            return code, out.read(), err.read()

    def end(self) -> None:
        """Let the waiting process go."""
        self._server.close()
        self._process.wait(10)


def _serve(channel: socket.socket) -> None:
    running.export()  # Prefect reads its settings when it is imported
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    for path in sorted(_FLOWS.glob("[a-z]*.py")):
        import_module(f"flows.{path.stem}")
    gc.freeze()  # what is there is shared with the commands: looking for garbage would copy it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, fds, _, _ = socket.recv_fds(channel, 1 << 17, 3)
        if not request:
            return
        if os.fork() == 0:
            break
        for fd in fds:
            os.close(fd)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    channel.close()
    _watch(json.loads(request), *fds)


def _watch(request: dict[str, object], out: int, err: int, answer: int) -> None:
    """Say how the command ended; it ends as any program does, with what it does at its exit."""
    child = os.fork()
    if child == 0:
        os.close(answer)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(str(request["folder"]))
        os.environ.clear()
        os.environ.update(request["environment"])  # type: ignore[arg-type]
        sys.argv = ["tailorbird", *request["arguments"]]  # type: ignore[misc]
        main()
    os.write(answer, str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
    os._exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
