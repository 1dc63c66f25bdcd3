"""What answers need to know of revoked consent."""

from typing import Final, Protocol


class ConsentChanges(Protocol):
    """Knows whether notifications of revoked consent arrive, and which values are from before one."""

    @property
    def connected(self) -> bool:
        """Return whether every revocation reaches this process within seconds."""

    def unchanged_since(self, user_key: str, read_at: float) -> bool:
        """Return whether nothing is known to have changed for the user since a moment of the database's clock."""


class NoConsentChanges:
    """Knows that no consent can change: a server of a bundle folder alone stores no users."""

    connected: Final = True

    def unchanged_since(self, user_key: str, read_at: float) -> bool:  # noqa: ARG002
        """Return True: nothing is stored about users."""
        return True
