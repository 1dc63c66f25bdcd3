"""Runs commands and the worker's runs without the seconds of their imports: forks them from a process that has them.

A test sees a process of its own with its own environment, output and exit code, as from `python -m flows`.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from base64 import b64decode
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final, NoReturn, Self

from flows.__main__ import main
from flows.commands import running
from models.ranking.xgboost_library import xgboost

_FLOWS = Path(__file__).parents[2] / "flows"
_RUN = Path(__file__).with_name("forked_run.py")
_LATE = (
    *("great_expectations", "mlflow.artifacts", "mlflow.pyfunc", "scipy.stats", "tasks.tuning.search_model"),
    *("great_expectations.render.renderer.page_renderer", "great_expectations.render.view"),
    *("faiss", "implicit.cpu.als", "lightfm", "alembic.command", "optuna.importance", "pyarrow.dataset"),
    *("sklearn.cluster", "sklearn.decomposition", "sklearn.feature_extraction.text", "sklearn.impute"),
    *("sklearn.linear_model", "sklearn.metrics", "sklearn.preprocessing", "serving.terminal.screen"),
    *("prefect.flow_engine", "prefect.task_engine", "prefect.utilities.visualization", "fairlearn.metrics"),
)
"""Modules that tasks import when they need them."""
PICTURES: Final = "DRAWN_PICTURES"
"""The variable of commands that draw their figures; the others leave them blank."""
_BLANK: Final = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg=="
)
"""A picture of one point."""


class Commands:
    """A process that waits with everything imported, and forks for each command."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._server, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as runs:
            runs.bind("")  # Linux chooses a name that no file has
            runs.listen()
            fds = [there.fileno(), runs.fileno()]
            command = [sys.executable, "-m", "tests.flows.forked", *map(str, fds)]
            self._process = subprocess.Popen(command, env=environment, pass_fds=fds, cwd=_FLOWS.parent)
            self.run_command = [sys.executable, "-S", "-E", str(_RUN), runs.getsockname()[1:].decode()]
            """The command that the worker can start for a run."""

    def run(self, arguments: tuple[str, ...], environment: dict[str, str]) -> tuple[int, str, str]:
        """Run a command; return its exit code, its output and its error output."""
        with self.start(arguments, environment) as command:
            return command.ended()

    def start(self, arguments: tuple[str, ...], environment: dict[str, str]) -> "Command":
        """Start a command that runs while the test goes on."""
        return Command(self._server, arguments, environment)

    def end(self) -> None:
        """End the waiting process."""
        self._server.close()
        self._process.wait(10)


class Command:
    """One command, which can be waited for or killed."""

    def __init__(self, server: socket.socket, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self.arguments, self.since = arguments, time.monotonic()
        self._out, self._err = TemporaryFile("w+"), TemporaryFile("w+")  # noqa: SIM115 - closed at the exit
        self._answer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._answer.settimeout(400)
        with theirs:
            request = json.dumps({"arguments": arguments, "environment": environment, "folder": str(Path.cwd())})
            fds = [self._out.fileno(), self._err.fileno(), theirs.fileno()]
            socket.send_fds(server, [request.encode()], fds)
        self.pid = int(self._answer.recv(16))
        self._code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for resource in (self._answer, self._out, self._err):
            resource.close()

    def kill(self) -> bool:
        """Kill the command's process; return False if it had ended by itself."""
        os.kill(self.pid, signal.SIGKILL)
        return self.ended()[0] == -signal.SIGKILL

    def alive(self) -> bool:
        """Return whether the command still runs."""
        if self._code is None and select.select([self._answer], [], [], 0)[0]:
            self.ended()
        return self._code is None

    def ended(self) -> tuple[int, str, str]:
        """Wait for the end; return the exit code, the output and the error output."""
        if self._code is None:
            self._code = int(self._answer.recv(16) or -1)
        self._out.seek(0)
        self._err.seek(0)
        return self._code, self._out.read(), self._err.read()


def _serve(channel: socket.socket, runs: socket.socket) -> None:
    gc.disable()  # imports leave little garbage
    running.export()  # Prefect reads its settings when it is imported
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    for name in [*(f"flows.{path.stem}" for path in sorted(_FLOWS.glob("[a-z]*.py"))), *_LATE]:
        import_module(name)
    xgboost()
    gc.freeze()  # what is there is shared with the commands: looking for garbage would copy it
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        if runs in select.select([channel, runs], [], [])[0]:
            connection, _ = runs.accept()
            request, fds, _, _ = socket.recv_fds(connection, 1 << 17, 2)
            fds.append(connection.detach())
        else:
            request, fds, _, _ = socket.recv_fds(channel, 1 << 17, 3)
            if not request:
                return
        if os.fork() == 0:
            break
        for fd in fds:
            os.close(fd)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    channel.close()
    runs.close()
    _watch(json.loads(request), *fds)


def _watch(request: dict[str, object], out: int, err: int, answer: int) -> None:
    """Report how the command ended; end it when nobody waits for it any more."""
    child = os.fork()
    if child == 0:
        os.close(answer)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(str(request["folder"]))
        os.environ.clear()
        os.environ.update(request["environment"])  # type: ignore[arg-type]
        if PICTURES not in os.environ:
            _leave_figures_blank()
        if request["arguments"] is None:
            os.umask(request["umask"])  # type: ignore[arg-type]
            _run(_flow_run)
        sys.argv = ["tailorbird", *request["arguments"]]  # type: ignore[misc]
        _run(main)
    os.write(answer, str(child).encode())
    end = os.pidfd_open(child)
    if end not in select.select([answer, end], [], [])[0]:
        os.kill(child, signal.SIGKILL)
        os._exit(0)
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    os.write(answer, str(code).encode())
    os.read(answer, 1)  # until the test lets it go: the process id cannot become another process's before
    os._exit(0)


def _leave_figures_blank() -> None:
    """Write each figure as one point: drawing is a quarter of a flow's work, and most tests look at no picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def blank(_of: object, path: str | Path, **_options: object) -> None:
        Path(path).write_bytes(_BLANK)

    Figure.savefig = FigureCanvasAgg.print_png = blank  # type: ignore[method-assign, assignment]


def _flow_run() -> None:
    """Run what `python -m prefect.engine` runs, with the settings of this process's environment."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()
    setup_logging()
    sys.argv = ["prefect.engine"]
    sys.modules.pop("prefect.engine", None)
    runpy.run_module("prefect.engine", run_name="__main__")


def _run(work: Callable[[], object]) -> NoReturn:
    """Run the work up to its exit handlers. Taking the imported modules apart costs five times a short command."""
    code = 1
    try:
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(*(socket.socket(fileno=int(fd)) for fd in sys.argv[1:]))
