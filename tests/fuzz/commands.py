"""Runs commands in this process, as the program `tailorbird` does."""

import contextlib
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from unittest.mock import patch

from flows.__main__ import main

CODES = (0, 1, 2)
"""Success, a user's mistake or an outage, wrong usage: the exit codes of commands without a defect."""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def run(*arguments: str) -> Ended:
    """Run `tailorbird` with these arguments; what it changes in the process is put back."""
    out, err = io.StringIO(), io.StringIO()
    called = patch.object(sys, "argv", ["tailorbird", *arguments])
    with _restored(), called, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = _code()
    return Ended(code, out.getvalue(), err.getvalue())


def check(ended: Ended, arguments: Sequence[str]) -> None:
    """Assert that a command ended with a known code, with a sentence if it failed, and without a traceback."""
    assert ended.code in CODES, f"{arguments}\n{ended.out}\n{ended.err}"
    assert "Traceback" not in ended.out + ended.err, f"{arguments}\n{ended.err}"
    assert ended.code == 0 or ended.err.strip() or ended.out.strip(), f"{arguments} ended with {ended.code} in silence"


def _code() -> int:
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    hooks = sys.unraisablehook, threading.excepthook
    try:
        with patch.dict(os.environ):
            yield
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        logging.raiseExceptions = True
