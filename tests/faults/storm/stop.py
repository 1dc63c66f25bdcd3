"""Stops a process at a named step, so that a test can kill it there."""

import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event


class Stop:
    """Where a process stops: after a statement, or before a file or a server is reached, that matches the step.

    `statements` and `events` are patterns by step. An event is an audit event of the interpreter with its arguments,
    such as `os.rename` or `http.client.send`.
    """

    def __init__(
        self, step: str | None, outcome: Path, statements: Mapping[str, str], events: Mapping[str, str] = {}
    ) -> None:
        self.step, self.there, self.go = step, outcome.with_suffix(".stopped"), outcome.with_suffix(".go")
        self._statement, self._event = statements.get(step or ""), events.get(step or "")

    def listen(self) -> None:
        """Watch this process from now on."""
        if self._statement:
            event.listen(Engine, "after_cursor_execute", self.after)
        if self._event:
            sys.addaudithook(self._audit)

    def after(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        """Stop if the statement matches the step."""
        if self._statement and re.search(self._statement, statement.strip(), re.DOTALL):
            self.at(self.step)

    def at(self, step: str | None) -> None:
        """Stop there, once."""
        if step == self.step and not self.there.exists():
            self.there.touch()
            while not self.go.exists():
                time.sleep(0.005)

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        # Of all events only few are looked at closely: the hook is called for every object that is made, too.
        watched = self._event and name in ("open", "os.rename", "http.client.send")
        if watched and re.search(self._event or "", f"{name} {arguments[:2]!r}", re.DOTALL):
            self.at(self.step)
