"""Turns ids of callers into pseudonyms, as ingestion does, without its imports."""

from infra.keys import key_chain


class Pseudonyms:
    """Holds the pseudonym key of the installation."""

    def __init__(self, key: str) -> None:
        self._keys = key_chain.keys(key)

    @property
    def key_version(self) -> int:
        """Return the number of keys in the chain: 1 before the first rotation."""
        return len(self._keys)

    def of(self, user: str) -> str:
        """Return the key of a user: 64 hex digits."""
        return key_chain.hashed(user, self._keys)

    def of_device(self, device: str) -> str:
        """Return the key of a session or device, which no user has."""
        return key_chain.hashed(device, self._keys, key_chain.DEVICE)
