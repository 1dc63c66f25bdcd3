"""Runs a command as `tailorbird` does and records when it reads its first record, of a table or of a source file.

Called as `python -m benchmarks.serve.start.probe NOTE COMMAND…`. NOTE gets the moment (monotonic s) and CPU seconds.
"""

import json
import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any, Final

_OF_THE_INSTALLATION: Final = re.compile(r"installation_fingerprints|pg_|current_setting|^\s*(SET|SHOW|BEGIN)")
"""Statements by which a command checks its servers; they read no record."""
_FLOWS: Final = {path.stem for path in (Path(__file__).parents[3] / "flows").glob("[a-z]*.py")}


class _FirstRead:
    """Writes the note once."""

    def __init__(self, note: Path, in_run: bool) -> None:
        self._note: Path | None = note
        self._in_run = in_run

    def mark(self) -> None:
        """Record that a record is read now; reads of a flow's command before its run are checks."""
        if self._note is not None and (not self._in_run or _runs()):
            note, self._note = self._note, None
            used = resource.getrusage(resource.RUSAGE_SELF)
            note.write_text(json.dumps([time.monotonic(), used.ru_utime + used.ru_stime]))

    def listen(self, sources: tuple[str, ...]) -> None:
        """Observe statements of SQLAlchemy, and source files that Python opens."""
        from sqlalchemy import Engine, event

        @event.listens_for(Engine, "before_cursor_execute")
        def _statement(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if not _OF_THE_INSTALLATION.search(statement):
                self.mark()

        def audit_hook(name: str, arguments: tuple[Any, ...]) -> None:
            if name == "open" and sources and str(arguments[0]).startswith(sources):
                self.mark()

        sys.addaudithook(audit_hook)


def _runs() -> bool:
    context: Any = sys.modules.get("prefect.context")
    return context is not None and context.FlowRunContext.get() is not None


def main() -> None:
    """Run the command in this process."""
    note, *command = sys.argv[1:]
    first = _FirstRead(Path(note), command[0] in _FLOWS)
    first.listen(tuple(word for word in command if os.path.sep in word))
    sys.argv = ["tailorbird", *command]
    from flows.__main__ import main as tailorbird

    tailorbird()


if __name__ == "__main__":
    main()
