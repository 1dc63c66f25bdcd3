"""A RabbitMQ node of the tests' own, on loopback with its own folder, cookie and port mapper. Faults happen to it."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
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
            self._mapper = subprocess.Popen(["epmd", "-relaxed_command_check"], env=environment)  # noqa: S607
        with (self.folder / "node.log").open("ab") as log:
            self._node = subprocess.Popen(
                [str(SERVER)], env=environment, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline and self._node.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.settimeout(5)
                connection.sendall(_GREETING)
                if connection.recv(1):
                    return
            time.sleep(0.05)
        raise AssertionError(f"RabbitMQ does not start: {(self.folder / 'node.log').read_text()[-2000:]}")

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
