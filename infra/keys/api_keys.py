"""Makes and checks the keys with which callers use the API. The database holds only their hashes."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, get_args

Scope = Literal["read", "write", "privacy", "admin", "collect"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""Read lists; write feedback, items and users; make requests of people; all of these, and what operators do; send
events."""
COLLECT: Final = "collect"
"""The scope of a key that may only send events; its name is their source."""
KeyKind = Literal["page", "server"]
"""Who holds a key: everybody, because it stands in a page or an application, or a server alone."""
STANDALONE: Final = "standalone"
"""The id of a key that no database records."""
METRICS_KEY: Final = "metrics-key"
"""The secret with which the monitor of the same installation reads the metrics of the API."""
LEAST_LETTERS: Final = 32
"""A key that no database records has at least these many letters."""

_INCLUDED: Final[dict[str, frozenset[Scope]]] = {
    "read": frozenset({"read"}),
    "write": frozenset({"write"}),
    "privacy": frozenset({"privacy"}),
    "admin": frozenset({"read", "write", "privacy", "admin"}),
    "collect": frozenset({"collect"}),
}
_PREFIX: Final = "tb"
_ID_BYTES, _SECRET_BYTES = 6, 32
_SOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_KEY: Final = re.compile(rf"{_PREFIX}_([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key as the database and the API know it: without its secret."""

    key_id: str
    name: str
    scopes: frozenset[Scope]
    """Includes the scopes that `admin` brings."""
    secret_hash: bytes
    requests_per_second: float | None = None
    """None: the limit in the settings of the API."""
    kind: KeyKind = "server"
    valid_until: float | None = None
    """The end by the monotonic clock of this process; None for a key that does not expire."""
    is_spent: bool = False
    """Whether the daily quota of a page key is spent."""

    def is_valid(self, now: float) -> bool:
        """Return whether the key has not expired at a moment of the same clock."""
        return self.valid_until is None or now < self.valid_until


def create_secret() -> tuple[str, str]:
    """Return the id and the whole text of a new key. 256 of its bits are random, so a fast hash protects it."""
    key_id = secrets.token_hex(_ID_BYTES)
    return key_id, f"{_PREFIX}_{key_id}_{secrets.token_hex(_SECRET_BYTES)}"


def hash_of(key: str) -> bytes:
    """Return the SHA-256 of a key."""
    return hashlib.sha256(key.encode()).digest()


def id_of(key: str) -> str:
    """Return the id that a key contains; STANDALONE for a key of another form."""
    match = _KEY.fullmatch(key)
    return match[1] if match else STANDALONE


def kind_of(scopes: Collection[str]) -> KeyKind:
    """Return the kind that a key with these scopes has by default: one that only sends events may be in a page."""
    return "page" if COLLECT in scopes else "server"


def fault_of(name: str, scopes: Collection[str], kind: str | None = None) -> str | None:
    """Return why a new key may not have this name, these scopes and this kind, or None."""
    if kind not in (None, *get_args(KeyKind)):
        return f"there is no kind {kind}; there are {', '.join(get_args(KeyKind))}"
    if COLLECT not in scopes:
        return "everybody can read the key of a page, so it has the scope collect alone" if kind == "page" else None
    if len(scopes) > 1:
        return "a key with the scope collect only sends events, so it has no other scope: create two keys"
    if not _SOURCE.fullmatch(name) or name == "api":
        return "the name is the source of the events: use up to 64 letters, digits, dots, dashes and underscores"
    return None


def all_scopes(scopes: Collection[str]) -> frozenset[Scope]:
    """Return the scopes with those that they include."""
    return frozenset().union(*(_INCLUDED[scope] for scope in scopes))


def matches(known: ApiKey | None, key: str) -> bool:
    """Return whether the text is this key. Its time depends neither on the key nor on whether its id is known."""
    expected = bytes(32) if known is None else known.secret_hash
    return hmac.compare_digest(expected, hash_of(key)) and known is not None
