"""Turns ids of callers into pseudonyms, as ingestion does, without its imports."""

from infra.keys import credentials


class Pseudonyms:
    """Holds the pseudonym key of the installation."""

    def __init__(self, key: str) -> None:
        self._keys = credentials.keys(key)

    @property
    def key_version(self) -> int:
        """Return the number of keys in the chain: 1 before the first rotation."""
        return len(self._keys)

    def of(self, user: str) -> str:
        """Return the key of a user: 64 hex digits."""
        return credentials.hashed(user, self._keys)

    def of_device(self, device: str) -> str:
        """Return the key of a session or device, which no user has."""
        return credentials.hashed(device, self._keys, credentials.DEVICE)
