"""Checks API keys from memory, so that they are valid while the database is away, and limits the requests of each."""

import base64
import binascii
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import orjson

from infra.keys.api_keys import ApiKey, all_scopes, id_of, matches
from infra.private_files.folders import replace_file

if TYPE_CHECKING:
    from serving.stores.postgres import Postgres

_BEARER, _BASIC = b"bearer ", b"basic "
_LONGEST: Final = 512
_MOST_VISITORS: Final = 10_000


class TokenBucket:
    """The requests that a key may still send."""

    __slots__ = ("_filled_at", "_tokens", "burst", "policy", "rate")

    def __init__(self, rate: float, burst: float = 1.0) -> None:
        self.rate = rate
        self.burst = max(burst, rate)
        self.policy = b'"default";q=%d;w=%d' % (math.ceil(rate), 1) if rate >= 1 else b'"default";q=1;w=%d' % (1 / rate)
        self._tokens = self.burst
        self._filled_at = monotonic()

    def take(self) -> bool:
        """Take one request; return whether it is allowed."""
        now = monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def drain(self, count: int) -> None:
        """Take more requests as far as there are any."""
        self._tokens = max(min(0.0, self._tokens), self._tokens - count)

    def charge(self, count: int) -> None:
        """Take more requests after one was allowed; the debt delays the next ones until it is paid in full."""
        self._tokens -= count

    def seconds_left(self) -> int:
        """Return the seconds until the next request is allowed, rounded up."""
        return max(1, math.ceil((1 - self._tokens) / self.rate))

    def header(self) -> bytes:
        """Return the value of the RateLimit header: what remains, and the seconds until it is full again."""
        return b'"default";r=%d;t=%d' % (max(0, self._tokens), math.ceil((self.burst - self._tokens) / self.rate))


class VisitorBucket(TokenBucket):
    """The requests that one address may still send with a page's key: a quarter of the rate that all visitors share.

    A debt is that of the address alone, so that one sender does not silence the others.
    """

    __slots__ = ("_shared",)

    def __init__(self, shared: TokenBucket) -> None:
        super().__init__(shared.rate / 4, shared.burst)
        self._shared = shared

    def take(self) -> bool:
        """Take one request of the address and of the key; return whether both are allowed."""
        return super().take() and self._shared.take()

    def charge(self, count: int) -> None:
        """Take more requests after one was allowed."""
        super().charge(count)
        self._shared.drain(count)


async def _nothing_newer() -> None:
    """Stand for the source of keys that never change."""


class Keyring:
    """The known keys, and how many requests each may still send."""

    def __init__(
        self, keys: Iterable[ApiKey] | None = None, requests_per_second: float = 1000, own: Iterable[ApiKey] = ()
    ) -> None:
        """`own` keys are valid beside those of the database."""
        self._default_rate, self._own = requests_per_second, tuple(own)
        self._known = {key.key_id: (key, TokenBucket(requests_per_second)) for key in self._own}
        self._visitors: OrderedDict[tuple[TokenBucket, str], VisitorBucket] = OrderedDict()
        self.is_loaded = False
        self.read_newer: Callable[[], Awaitable[None]] = _nothing_newer
        """Replaces the keys with those of now, where they have a source."""
        self.used: set[str] = set()
        """Ids of keys that were used since the database recorded their last use."""
        if keys is not None:
            self.replace(keys)

    def replace(self, keys: Iterable[ApiKey]) -> None:
        """Take these keys as all valid ones; a key with an unchanged limit keeps its count of requests."""
        self._known = {key.key_id: (key, self._bucket(key)) for key in (*self._own, *keys)}
        self.is_loaded = True

    def _bucket(self, key: ApiKey) -> TokenBucket:
        rate = key.requests_per_second or self._default_rate
        known = self._known.get(key.key_id)
        return known[1] if known and known[1].rate == rate else TokenBucket(rate)

    def find(self, authorization: bytes, api_key: bytes, address: str = "") -> tuple[ApiKey, TokenBucket] | None:
        """Return the key of a request, from either header, and what its address may send; None without a valid one."""
        text = _key_text(authorization) if authorization else api_key.decode("latin-1")
        if not text or len(text) > _LONGEST or not text.isascii():
            return None
        known = self._known.get(id_of(text))
        if not matches(known[0] if known else None, text) or known is None:
            return None
        key = known[0]
        if not key.is_valid(monotonic()):
            return None
        self.used.add(key.key_id)
        return known if key.kind == "server" else (key, self._of_visitor(known[1], address))

    def _of_visitor(self, shared: TokenBucket, address: str) -> VisitorBucket:
        """Return the bucket of an address; of many addresses those that sent last are remembered."""
        known = self._visitors.pop((shared, address), None)
        bucket = self._visitors[shared, address] = known or VisitorBucket(shared)
        if len(self._visitors) > _MOST_VISITORS:
            self._visitors.popitem(last=False)
        return bucket


def _key_text(authorization: bytes) -> str:
    """Return the key in an Authorization header: the token, or of a basic login the password, else the user."""
    lower = authorization[:7].lower()
    if lower == _BEARER:
        return authorization[7:].strip().decode("latin-1")
    if not lower.startswith(_BASIC) or len(authorization) > 2 * _LONGEST:
        return ""
    try:
        user, _, password = base64.b64decode(authorization[6:], validate=True).decode("latin-1").partition(":")
        return password or user
    except binascii.Error:
        return ""


_VALID: Final = """
    SELECT key.key_id, name, scopes, kind, secret_hash, requests_per_second,
        extract(epoch FROM expires_at - now())::float8 AS seconds_left,
        coalesce(usage.calls >= $1 OR usage.bytes >= $2, false) AS is_spent
    FROM api_keys AS key LEFT JOIN key_usage AS usage
        ON usage.key_id = key.key_id AND usage.day = (now() AT TIME ZONE 'UTC')::date
    WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"""
_USED: Final = """
    UPDATE api_keys SET last_used_at = now()
    WHERE key_id = ANY($1::text[]) AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')"""
_UNLIMITED: Final = (2**62, 2**62)
FILE: Final = "serving/api_keys.json"
"""The copy within `var` of keys that do not expire: hashes of random texts, from which no key can be computed."""


class RecordedKeys:
    """Refreshes a keyring from the database."""

    def __init__(
        self, keyring: Keyring, database: "Postgres", copy: Path, workers: int = 1, quota: tuple[int, int] = _UNLIMITED
    ) -> None:
        """`workers` share the limits of each key; `quota` has the calls and bytes of a page key per day."""
        self._keyring, self._database, self._copy, self._workers = keyring, database, copy, workers
        self._quota = quota
        self._read: list[dict[str, Any]] | None = None

    async def refresh(self) -> None:
        """Read all valid keys, and record which were used."""
        rows = [dict(row) for row in await self._database.fetch(_VALID, *self._quota)]
        self._keyring.replace(_keys(rows, self._workers))
        # Only the database's clock decides when a key expires, so the copy holds keys without an end.
        kept = [row for row in rows if row["seconds_left"] is None]
        if kept != self._read:
            self._read = kept
            self._store(kept)
        used = list(self._keyring.used)
        if used:
            self._keyring.used.difference_update(used)
            await self._database.fetch(_USED, used)

    def read_copy(self) -> None:
        """Take the keys of the copy, if the database gave none yet."""
        try:
            rows = orjson.loads(self._copy.read_bytes())
            decoded = [{**row, "secret_hash": bytes.fromhex(row["secret_hash"])} for row in rows]
            keys = _keys(decoded, self._workers)
        except (OSError, ValueError, KeyError, TypeError):
            return
        if not self._keyring.is_loaded:
            self._keyring.replace(keys)

    def _store(self, rows: list[dict[str, Any]]) -> None:
        """Store the copy in one step. Without it, a start without the database knows no key."""
        with suppress(OSError):
            self._copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._copy, orjson.dumps(rows, default=bytes.hex))


def _keys(rows: Sequence[dict[str, Any]], workers: int) -> list[ApiKey]:
    return [
        ApiKey(
            row["key_id"],
            row["name"],
            all_scopes(row["scopes"]),
            row["secret_hash"],
            None if row["requests_per_second"] is None else row["requests_per_second"] / workers,
            row["kind"],
            None if row["seconds_left"] is None else monotonic() + row["seconds_left"],
            row["is_spent"],
        )
        for row in rows
    ]
