"""Appends the tracebacks of commands to a log file of the installation, without data."""

import os
import re
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from infra.configuration.addresses import redact
from infra.outages import chain
from models.errors import TailorbirdError

NAME: Final = "commands.log"
_LONGEST_LOG: Final = 1 << 20
_LONGEST_ENTRY: Final = 1 << 16
_LONGEST_MESSAGE: Final = 500
_FRAMES: Final = 60
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\([^()]*\)=\([^()]*\)")
# Their messages name code and paths. Others may quote values: an id, or a cell of a file.
_QUOTE_NO_DATA: Final = (TailorbirdError, OSError, ImportError, AttributeError, NameError, TypeError)


def record(error: BaseException) -> Path | None:
    """Append the traceback to `<var>/log/commands.log`; return the path, or None when it cannot be written.

    Without a writable `var` it goes to a new file in the temporary folder. Only the owner can read these files.
    """
    entry = _entry(error)
    try:
        return _append(_folder() / NAME, entry)
    except Exception:  # a broken folder or setting must not hide the user's message
        return _temporary(entry)


def take_native_output() -> None:
    """Redirect the output of native libraries to the log; Python's own output stays on the terminal.

    On a full disk, each thread of deltalake prints a backtrace.
    """
    stream = sys.stderr
    if stream is not sys.__stderr__ or stream is None:
        return
    terminal = os.dup(2)
    try:
        log = _opened(_folder() / NAME)
    except Exception:  # without a log their output stays on the terminal
        os.close(terminal)
        return
    stream.flush()
    os.dup2(log, 2)
    os.close(log)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding=stream.encoding, errors="backslashreplace")


def _folder() -> Path:
    """Return the log folder of an existing installation; a failed command creates no `var`."""
    from infra.configuration.settings import load

    folder = load().var / "log"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _append(path: Path, entry: str) -> Path:
    with os.fdopen(_opened(path), "w", errors="backslashreplace") as file:
        file.write(entry)
    return path


def _opened(path: Path) -> int:
    if path.is_file() and path.stat().st_size > _LONGEST_LOG:
        path.replace(path.with_suffix(".log.1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def _temporary(entry: str) -> Path | None:
    try:
        descriptor, name = tempfile.mkstemp(prefix="tailorbird-", suffix=".log")
        with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
            file.write(entry)
    except OSError:
        return None
    return Path(name)


def _entry(error: BaseException) -> str:
    parts = [f"{datetime.now(UTC).isoformat(timespec='seconds')} process {os.getpid()}\n"]
    for one in chain(error):
        parts += [f"{type(one).__module__}.{type(one).__qualname__}: {_message(one)}\n"]
        parts += traceback.format_list(traceback.extract_tb(one.__traceback__)[-_FRAMES:])
    return "".join(parts)[:_LONGEST_ENTRY].rstrip() + "\n\n"


def _message(error: BaseException) -> str:
    """Return the first line of the message without logins; quoted text is masked, because it may be data."""
    first = redact((str(error).strip().splitlines() or [""])[0])
    if not isinstance(error, _QUOTE_NO_DATA):
        first = _QUOTED.sub("***", first)
    return first[:_LONGEST_MESSAGE]
