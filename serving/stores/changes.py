"""Listens to changes that the database notifies, and proves every second that notifications still arrive.

Values that were read before the listener connected may be outdated: `UserChanges` bounds which ones may be used.
All moments are of the database's clock.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Set
from time import monotonic
from typing import Any, Final

import asyncpg

from serving.stores.postgres import connection_options
from serving.stores.refresher import wait

_BEAT_SECONDS: Final = 1.0
_CONNECT_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 0.2
HEARTBEAT_TIMEOUT_SECONDS: Final = 5.0
"""Without a heartbeat for so long, no stored consent is used."""
_USER: Final = "user "
_KEPT_SECONDS: Final = 3600.0
"""Longer than any cached value lives."""
_MOST: Final = 200_000
_UNDATED: Final = float("inf")
_log: Final = logging.getLogger(__name__)

Listener = Callable[[], None]


class UserChanges:
    """Changes of users since the process began to listen; all moments are of the database's clock."""

    def __init__(self) -> None:
        """Believe no value until the clock was read."""
        self._since = _UNDATED
        self._latest = 0.0
        self._changed: dict[str, float] = {}
        """When each user changed last, the oldest first."""
        self._undated: set[str] = set()

    def unchanged_since(self, user_key: str, read_at: float) -> bool:
        """Return whether a value of a user, read at that moment, is from after all known changes."""
        return read_at > self._since and read_at > self._changed.get(user_key, 0.0)

    def changed(self, user_key: str) -> None:
        """Doubt all values of the user until the change is dated."""
        self._changed.pop(user_key, None)
        self._changed[user_key] = _UNDATED
        self._undated.add(user_key)

    def pending(self) -> frozenset[str]:
        """Return the users whose changes are to be dated, once."""
        users = frozenset(self._undated)
        self._undated.clear()
        return users

    def date(self, users: Set[str], now: float, *, restarted: bool = False) -> None:
        """Date changes that were notified before the clock was read. `restarted`: earlier ones were missed.

        If the clock went back, values from before have later moments than new ones, so none of them is believed.
        """
        if restarted or now < self._latest:
            self._since = max(now, self._latest)
        if restarted:
            self._changed = dict.fromkeys(self._undated, _UNDATED)
        self._latest = max(now, self._latest)
        for user_key in users - self._undated:
            self._changed.pop(user_key, None)
            self._changed[user_key] = self._latest
        self._forget()

    def _forget(self) -> None:
        """Drop what no cached value is older than. If there are too many, doubt all values of that time instead."""
        while self._changed:
            user_key, moment = next(iter(self._changed.items()))
            recent = moment >= self._latest - _KEPT_SECONDS
            if moment == _UNDATED or (recent and len(self._changed) <= _MOST):
                break
            del self._changed[user_key]
            if recent:
                self._since = max(self._since, moment)


class Changes:
    """One connection that listens, and connects again when it was lost."""

    def __init__(self, address: str, heartbeat_timeout: float = HEARTBEAT_TIMEOUT_SECONDS) -> None:
        """Prepare for an address. `run` listens."""
        self._options, self._heartbeat_timeout = connection_options(address), heartbeat_timeout
        self._beats = f"tailorbird_beat_{secrets.token_hex(8)}"
        self._received_at = -heartbeat_timeout
        self._was_connected = True
        self._beat_received = asyncio.Event()
        self._clock_wanted = asyncio.Event()
        self._users = UserChanges()
        self._listeners: dict[str, list[Listener]] = {}
        self._user_listeners: list[Callable[[frozenset[str] | None], None]] = []

    @property
    def connected(self) -> bool:
        """Return whether a heartbeat arrived within the last seconds."""
        return monotonic() - self._received_at < self._heartbeat_timeout

    def unchanged_since(self, user_key: str, read_at: float) -> bool:
        """Return whether nothing was notified about the user since that moment."""
        return self._users.unchanged_since(user_key, read_at)

    def on(self, table: str, listener: Listener) -> None:
        """Call the listener after changes of a table, and after each time that changes may have been missed."""
        self._listeners.setdefault(table, []).append(listener)

    def on_users(self, listener: Callable[[frozenset[str] | None], None]) -> None:
        """Call the listener with the keys of changed users; None stands for all."""
        self._user_listeners.append(listener)

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except Exception as error:  # whatever it is: without this loop no notification would arrive again
                level = logging.WARNING if self._was_connected else logging.DEBUG
                _log.log(level, "No changes of the database arrive: %s. Trying again.", type(error).__name__)
                self._was_connected = False
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(**self._options, timeout=_CONNECT_SECONDS)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await connection.add_listener("tailorbird_changes", self._notified)
                await connection.add_listener(self._beats, self._beat_arrived)
                await self._read_clock(connection, restarted=True)
            self._missed()
            while True:
                await self._beat(connection)
        finally:
            connection.terminate()

    async def _beat(self, connection: Any) -> None:
        """Send a heartbeat through the database and wait for it. Raises TimeoutError."""
        self._beat_received.clear()
        async with asyncio.timeout(self._heartbeat_timeout / 2):
            await self._read_clock(connection)
            await connection.execute("SELECT pg_notify($1, '')", self._beats)
            await self._beat_received.wait()
        await wait(self._clock_wanted, _BEAT_SECONDS)

    async def _read_clock(self, connection: Any, *, restarted: bool = False) -> None:
        """Date the changes that were notified until now."""
        self._clock_wanted.clear()
        pending = self._users.pending()
        for listener in self._user_listeners if pending else ():
            listener(pending)
        now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        self._users.date(pending, now, restarted=restarted)

    def _beat_arrived(self, *_: Any) -> None:
        self._received_at, self._was_connected = monotonic(), True
        self._beat_received.set()

    def _notified(self, _connection: Any, _process: int, _channel: str, payload: object) -> None:
        name = str(payload)
        if name.startswith(_USER):
            self._users.changed(name.removeprefix(_USER))
            self._clock_wanted.set()
        for notify in self._listeners.get(name, ()):
            notify()

    def _missed(self) -> None:
        """Let all listeners read again: notifications were missed while the connection was down."""
        for listener in self._user_listeners:
            listener(None)
        for listeners in self._listeners.values():
            for notify in listeners:
                notify()
