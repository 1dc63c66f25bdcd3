"""The pseudonym key as a chain: every rotation adds a key, which pseudonyms of the keys before it are hashed with."""

import re
from typing import Final

from infra.keys.fingerprints import PSEUDONYM, fingerprint

_SEPARATOR: Final = ","
_ADDED: Final = re.compile(r"[0-9a-f]{64}")


def keys(secret: str) -> list[str]:
    """The keys of a secret, oldest first. A secret that no rotation has made is one key, whatever it holds."""
    first, *added = secret.split(_SEPARATOR)
    return [first, *added] if all(map(_ADDED.fullmatch, added)) else [secret]


def extended(secret: str, key: str) -> str:
    """The secret after one more rotation."""
    return f"{secret}{_SEPARATOR}{key}"


def fingerprints(secret: str) -> list[str]:
    """The fingerprint that the secret had with its first key alone, with two keys, and so on."""
    known = keys(secret)
    return [fingerprint(PSEUDONYM, _SEPARATOR.join(known[:count])) for count in range(1, len(known) + 1)]


def remaining(secret: str, earlier: str | None) -> list[str] | None:
    """The keys that were added after the secret had the fingerprint `earlier`; None when it never had it.

    What records no fingerprint is from before they were recorded, and so from before the first rotation.
    """
    had = fingerprints(secret)
    if earlier is not None and earlier not in had:
        return None
    return keys(secret)[1 + (had.index(earlier) if earlier else 0) :]
