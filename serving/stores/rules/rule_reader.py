"""Keeps the current version of operators' rules in memory, and a copy for a start without the database."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final

import orjson

from models.lists.rules.layer.rule_version import NO_VERSION, RuleVersion, layer_from_json, layer_to_json
from serving.stores.database.postgres import Postgres

FILE: Final = "serving/operator_rules.json"
"""The copy within `var`."""
_NEWEST: Final = "SELECT coalesce(max(version), 0), clock_timestamp() FROM operator_rules"
_ONE: Final = (
    "SELECT version, rules::text AS rules, author, comment, created_at, restores FROM operator_rules WHERE version = $1"
)


class RuleReader:
    """The version that counts, as last read. Without the database the last one stays."""

    def __init__(self, postgres: Postgres, copy: Path | None = None) -> None:
        """Read through these connections, and keep the copy there."""
        self._postgres, self._copy = postgres, copy
        self._clock: tuple[datetime, float] | None = None
        """A time of the database, and the time of this process's monotonic clock at which it was read."""
        self._refreshing = asyncio.Lock()
        self.current = NO_VERSION
        self.read = False
        """Whether it was read at all."""

    async def refresh(self) -> None:
        """Read the newest version if it is another one. Raises PostgresDownError.

        Refreshes follow one another: otherwise one that began before a change could end after it.
        """
        async with self._refreshing:
            newest, moment = (await self._postgres.fetch(_NEWEST))[0]
            self._clock = moment, monotonic()
            if newest != self.current.version or not self.read:  # the copy may be that of another database
                before, rows = self.current, await self._postgres.fetch(_ONE, newest)
                self.current = _version(rows[0], orjson.loads(rows[0]["rules"])) if rows else NO_VERSION
                if self.current != before:
                    self._store()
            self.read = True

    def now(self) -> datetime:
        """Return the time of the database; before it was ever read, that of the version, so that no rule has ended."""
        if self._clock is None:
            return self.current.created_at
        moment, read_at = self._clock
        return moment + timedelta(seconds=monotonic() - read_at)

    def read_copy(self) -> None:
        """Take the version of the copy until the database is read."""
        try:
            stored = orjson.loads(self._copy.read_bytes()) if self._copy else None
            if stored is not None and not self.read:
                self.current = _version(stored, stored["rules"])
        except (OSError, ValueError, KeyError, TypeError):
            return

    def _store(self) -> None:
        """Store the copy in one step. Without it, a start without the database knows no rules."""
        if self._copy is None:
            return
        draft = self._copy.with_name(f".{self._copy.name}.{os.getpid()}")
        content = {**vars(self.current), "rules": layer_to_json(self.current.layer), "layer": None}
        try:
            self._copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_bytes(orjson.dumps(content))
            draft.replace(self._copy)
        except OSError:
            with suppress(OSError):  # the folder may belong to somebody else
                draft.unlink(missing_ok=True)


def _version(row: Mapping[str, Any], rules: Any) -> RuleVersion:
    created_at = row["created_at"]
    at = datetime.fromisoformat(created_at) if isinstance(created_at, str) else created_at
    return RuleVersion(row["version"], layer_from_json(rules), row["author"], row["comment"], at, row["restores"])
