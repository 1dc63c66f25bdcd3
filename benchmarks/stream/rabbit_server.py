"""Runs a RabbitMQ node on loopback with its own folder, cookie and port mapper; tests let faults happen to it."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SERVER = next(iter(sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))), None)
"""Debian's script without the change of user."""
_SECONDS = 60
_GREETING = b"AMQP\x00\x00\x09\x01"
"""The first bytes of a client."""


def is_installed() -> bool:
    return SERVER is not None and shutil.which("epmd") is not None


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class RabbitServer:
    """One node; after a fault it comes back with its messages at the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._distribution, self._mapper_port = _free_ports(3)
        self._node: subprocess.Popen[bytes] | None = None
        self._mapper: subprocess.Popen[bytes] | None = None
        self._log = folder / "node.log"
        self._log.touch()
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\nlog.console = true\nlog.file = false\n"
            "disk_free_limit.absolute = 1MB\n"
        )

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start the node, and its port mapper if that does not run yet; return when clients can connect."""
        environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(self.folder),
            "ERL_CRASH_DUMP": "/dev/null",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"tailorbird_{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
        }
        if self._mapper is None:
            command = ["epmd", "-relaxed_command_check"]
            self._mapper = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            self._wait(self._mapper, self._mapper_port, b"")  # else the node starts another one, which stays behind
        with self._log.open("ab") as log:
            self._node = subprocess.Popen(
                [str(SERVER)], env=environment, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        self._wait(self._node, self.port, _GREETING)

    def _wait(self, process: "subprocess.Popen[bytes]", port: int, greeting: bytes) -> None:
        """Wait until a port is open, and answers a greeting if there is one."""
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(greeting)
                if not greeting or connection.recv(1):
                    return
            time.sleep(0.05)
        raise AssertionError(f"RabbitMQ does not start: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill the node, as a power failure does."""
        if self._node is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._node.pid, signal.SIGKILL)
            self._node.wait()
            self._node = None

    def stop(self) -> None:
        """End the node and its port mapper."""
        self.kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
            self._mapper = None


@contextmanager
def rabbit_server(folder: Path) -> Iterator[RabbitServer]:
    """Run a node whose files are in a folder; a block that ends it starts it again."""
    server = RabbitServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
