"""Reads the pseudonym key as a chain: every rotation adds a key that hashes the pseudonyms of the keys before it."""

import hmac
import re
from collections.abc import Iterable
from typing import Final

from infra.keys.fingerprints import PSEUDONYM, fingerprint

_SEPARATOR: Final = ","
_ADDED: Final = re.compile(r"[0-9a-f]{64}")
DEVICE: Final = b"\xff"
"""Precedes the id of a device in the first link: no text in UTF-8 begins so, and no user has the key of a device."""


def keys(secret: str) -> list[str]:
    """Return the keys of a secret, oldest first. A secret without keys added by rotations is one key."""
    first, *added = secret.split(_SEPARATOR)
    return [first, *added] if all(map(_ADDED.fullmatch, added)) else [secret]


def hashed(name: str, keys_of_chain: Iterable[str], domain: bytes = b"") -> str:
    """Return an id of a `domain`, or a key, after these keys have hashed it in turn (HMAC-SHA-256): 64 hex digits."""
    for key in keys_of_chain:
        name, domain = hmac.digest(key.encode(), domain + name.encode(), "sha256").hex(), b""
    return name


def extended(secret: str, key: str) -> str:
    """Return the secret after one more rotation."""
    return f"{secret}{_SEPARATOR}{key}"


def fingerprints(secret: str) -> list[str]:
    """Return the fingerprints of the secret with its first key alone, with two keys, and so on."""
    known = keys(secret)
    return [fingerprint(PSEUDONYM, _SEPARATOR.join(known[:count])) for count in range(1, len(known) + 1)]


def remaining(secret: str, earlier: str | None) -> list[str] | None:
    """Return the keys added since the secret had the fingerprint `earlier`; None when it never had it.

    Data without a fingerprint is older than the first rotation.
    """
    known = fingerprints(secret)
    if earlier is not None and earlier not in known:
        return None
    return keys(secret)[1 + (known.index(earlier) if earlier else 0) :]


class Pseudonyms:
    """Turns ids of callers into pseudonyms, with the pseudonym key of the installation."""

    def __init__(self, secret: str) -> None:
        self._keys = keys(secret)

    @property
    def key_version(self) -> int:
        """Return the number of keys in the chain: 1 before the first rotation."""
        return len(self._keys)

    def of(self, user: str) -> str:
        """Return the key of a user: 64 hex digits."""
        return hashed(user, self._keys)

    def of_device(self, device: str) -> str:
        """Return the key of a session or device, which no user has."""
        return hashed(device, self._keys, DEVICE)
