"""Commands of the program in processes of a storm: what Prefect would run is called in the process itself."""

import contextlib
import io
import sys

from flows.__main__ import main
from models.errors import TailorbirdError
from tests.fuzz.unorchestrated import unorchestrated


class CommandFailedError(TailorbirdError):
    """A command that ended with 1 and a sentence, which comes after the program's name."""


def command(*arguments: str) -> None:
    """Run `tailorbird` to its end. Raises CommandFailedError for an exit code of 1, AssertionError for any other."""
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
