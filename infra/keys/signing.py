"""Signs content with Ed25519 and verifies signatures: only content with a trusted signature is opened."""

import os
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.configuration.settings import Settings
from infra.keys.credentials import FOLDER, find_secret, permanent_secret
from models.errors import TailorbirdError

SECRET: Final = "signing-key"  # noqa: S105 - the name of the secret
"""32 random bytes as 64 hex digits: the seed of a private key."""

TRUSTED: Final = "trusted-signing-keys"
"""The file beside the secrets with the public keys that the database records as trusted, one per line."""

_NO_KEY: Final = "signed, but no key is known here to compare with"


class SigningKeyError(TailorbirdError):
    """An invalid private key."""


class SignatureRefusedError(TailorbirdError):
    """A signature by an untrusted key, or of other content."""


def sign(settings: Settings, content: bytes) -> bytes:
    """Sign content with the installation's key; return 64 bytes (RFC 8032). The first use creates the key."""
    return _private(permanent_secret(settings, SECRET)).sign(content)


def verify(settings: Settings, content: bytes, signature: bytes) -> None:
    """Raise SignatureRefusedError unless a trusted key signed exactly this content.

    Trusted are the installation's own key, its earlier ones that are not retired, and TAILORBIRD_SIGNING_PUBLIC_KEY.
    """
    trusted = sorted(_trusted(settings))
    if not any(signed_by(key, content, signature) for key in trusted):
        known = f"signed by none of the keys that are trusted here ({', '.join(trusted)})" if trusted else _NO_KEY
        raise SignatureRefusedError(
            f"{known}. Restore it or create it again. If another installation of yours made it, and you know how it "
            "came here, put what `tailorbird signing-key` prints there into TAILORBIRD_SIGNING_PUBLIC_KEY."
        )


def public_key(settings: Settings) -> str:
    """Return the installation's public key (64 hex digits) for hosts that only serve. The first use creates it."""
    return public_of(permanent_secret(settings, SECRET))


def public_of(seed: str) -> str:
    """Return the public key (64 hex digits) of a secret; raises SigningKeyError."""
    return _private(seed).public_key().public_bytes_raw().hex()


def signed_by(key: str, content: bytes, signature: bytes) -> bool:
    """Return whether the public key's owner signed exactly these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, content)
    except (InvalidSignature, ValueError):  # ValueError: 32 bytes that are not a point of the curve
        return False
    return True


def _trusted(settings: Settings) -> set[str]:
    """Return the trusted public keys in hex. Creates no private key, because a new key has signed nothing."""
    given = {key.strip().lower() for key in settings.signing_public_key.split(",")} - {""}
    own = find_secret(settings, SECRET)
    recorded = settings.var / FOLDER / TRUSTED
    earlier = set(recorded.read_text().split()) if os.access(recorded, os.R_OK) else set()
    return given | earlier | ({public_of(own)} if own else set())


def _private(seed: str) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    except ValueError:
        raise SigningKeyError(
            "The secret signing-key has to be 64 hex digits: correct or unset TAILORBIRD_SECRET_SIGNING_KEY, or "
            "restore the file from a backup."
        ) from None
