"""Turns ids of callers into pseudonyms, as ingestion does, without its imports."""

import hmac

from infra.keys import key_chain


class Pseudonyms:
    """Holds the pseudonym key of the installation."""

    def __init__(self, key: str) -> None:
        self._keys = [part.encode() for part in key_chain.keys(key)]

    @property
    def key_version(self) -> int:
        """Return the number of keys in the chain: 1 before the first rotation."""
        return len(self._keys)

    def of(self, name: str) -> str:
        """Return the key of a user, session or device: 64 hex digits."""
        for key in self._keys:
            name = hmac.digest(key, name.encode(), "sha256").hex()
        return name
