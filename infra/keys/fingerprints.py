"""Computes fingerprints of the keys that stored data depend on."""

import hashlib
from typing import Final

from infra.configuration.settings import Settings
from infra.keys.credentials import environment_secret, find_secret, variable
from infra.keys.signing import public_of

INSTALLATION: Final = "installation"
PSEUDONYM: Final = "pseudonym-key"
SIGNING: Final = "signing-key"
KEYS: Final = (PSEUDONYM, SIGNING)
_HEX_DIGITS: Final = 32


def fingerprint(kind: str, key: str) -> str:
    """Return 32 hex digits that identify a key and reveal nothing usable about it.

    Raises SigningKeyError for an invalid signing key.
    """
    content = public_of(key) if kind == SIGNING else key
    return hashlib.sha256(f"tailorbird fingerprint of {kind}\0{content}".encode()).hexdigest()[:_HEX_DIGITS]


def present_fingerprint(settings: Settings, kind: str) -> str | None:
    """Return the fingerprint of this host's key; None without one."""
    key = find_secret(settings, kind)
    return fingerprint(kind, key) if key else None


def key_source(settings: Settings, kind: str) -> str:
    """Return the environment variable or the file that holds a key."""
    return variable(kind) if environment_secret(kind) else str(settings.var / "secrets" / kind)
