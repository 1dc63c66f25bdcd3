"""Small file systems that can be filled and freed, PostgreSQL on one of them, and commands that find them full."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy.exc import OperationalError

from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.postgres_user import PostgresFailedError
from models.errors import TailorbirdError
from tests.faults.storm.conftest import administer

BLOCK: Final = bytes(1 << 20)
BALLAST: Final = ".ballast"
NEXT_SEGMENT: Final = "SELECT txid_current(), pg_switch_wal()"
"""The next record of the log begins a new file of it."""


class Disk:
    """A file system in memory at a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._ballast = folder, folder / BALLAST

    def fill(self) -> None:
        """Leave no block free."""
        with self._ballast.open("wb", buffering=0) as file:
            for size in (len(BLOCK), 4096):
                try:
                    while file.write(BLOCK[:size]) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Give all of it back."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """Put a folder, with all that is in it, on a small file system; skips the test where none can be mounted."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    owner, copy = folder.stat(), folder.with_name(f"{folder.name}.kept")
    subprocess.run(["/bin/cp", "-a", str(folder), str(copy)], check=True)
    options = f"size={megabytes}m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    mount = ["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        shutil.rmtree(copy)
        pytest.skip("full disks need root and the right to mount file systems")
    try:
        subprocess.run(["/bin/cp", "-a", f"{copy}/.", str(folder)], check=True)
        shutil.rmtree(copy)
        yield Disk(folder)
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)


class SmallPostgres:
    """A server whose data and log of changes share a small file system."""

    def __init__(self, server: EmbeddedPostgres, disk: Disk) -> None:
        self.server, self._disk = server, disk

    def fill(self, *, log_too: bool) -> None:
        """Fill the file system; with `log_too` PostgreSQL finds no room for its log of changes either, and crashes."""
        self._disk.fill()
        if log_too:
            self._exhaust_log()

    def free(self) -> bool:
        """Give the room back and let the server run; returns whether it had stopped for good."""
        stopped = self.server.running() is None
        if stopped:
            self._start_without_room()
        self._disk.free()
        self._await()
        self.execute("CHECKPOINT")  # the next round begins with the room that the log has taken
        return stopped

    def execute(self, statement: str) -> None:
        """Run a statement outside of a transaction."""
        administer(self.server, statement)

    def _exhaust_log(self) -> None:
        try:
            for _ in range(200):
                self.execute(NEXT_SEGMENT)
        except (OperationalError, PostgresFailedError):
            return
        pytest.fail("the log of changes found room on a full disk")

    def _start_without_room(self) -> None:
        refusal = ""
        try:
            self.server.start()  # a recovery may happen to need no room
        except TailorbirdError as error:
            refusal = str(error)
        assert not refusal or re.match(r"The disk of PostgreSQL is full .* run `tailorbird up`", refusal), refusal

    def _await(self) -> None:
        """A server that crashed may be at its recovery, or about to give it up."""
        deadline = time.monotonic() + 60
        while True:
            if self.server.running() is None:
                self.server.start()
            try:
                self.execute("SELECT 1")
            except (OperationalError, PostgresFailedError):
                assert time.monotonic() < deadline, "PostgreSQL does not come back"
                time.sleep(0.05)
            else:
                return


class CommandFailedError(TailorbirdError):
    """A command that ended with 1 and a sentence, which comes after the program's name."""


def command(*arguments: str) -> None:
    """Run `tailorbird` to its end. Raises CommandFailedError for an exit code of 1, AssertionError for any other."""
    from flows.__main__ import main
    from tests.fuzz.unorchestrated import unorchestrated

    err, sys.argv = io.StringIO(), ["tailorbird", *arguments]
    with unorchestrated(), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code, text = ended.code, err.getvalue().strip()
    _, mark, sentences = text.rpartition("tailorbird: ")
    if code == 1 and mark and "Traceback" not in text:
        raise CommandFailedError(sentences)
    assert code in (0, None), f"{arguments} ended with {code}: {text}"
