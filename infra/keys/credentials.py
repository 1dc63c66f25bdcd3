"""Creates and reads the passwords and keys of an installation, in files that only their owner can read.

No argument and no log contains one. Keys that stored data depend on have fingerprints. The signing key signs bundles
with Ed25519. The pseudonym key is a chain: every rotation adds a key that hashes the pseudonyms of the keys before it.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.configuration.settings import Settings
from models.errors import TailorbirdError

FOLDER = "secrets"
IDENTITY = "identity-secret"
"""The secret with which the shop's server signs the users of its pages."""
INSTALLATION_ID = "installation-id"
"""The file in `var` with the random id of the installation. Keys may be created only while it is missing."""
ERASED_USERS: Final = "erased-users.json"
"""The file beside the secrets with the moment of the erasure by user key."""
INSTALLATION: Final = "installation"
PSEUDONYM: Final = "pseudonym-key"
SIGNING: Final = "signing-key"
"""32 random bytes as 64 hex digits: the seed of a private key."""
KEYS: Final = (PSEUDONYM, SIGNING)
_HEX_DIGITS: Final = 32
TRUSTED: Final = "trusted-signing-keys"
"""The file beside the secrets with the public keys that the database records as trusted, one per line."""
_NO_KEY: Final = "signed, but no key is known here to compare with"
_SEPARATOR: Final = ","
_ADDED: Final = re.compile(r"[0-9a-f]{64}")
DEVICE: Final = b"\xff"
"""Precedes the id of a device in the first link: no text in UTF-8 begins so, and no user has the key of a device."""


class SigningKeyError(TailorbirdError):
    """An invalid private key."""


class SignatureRefusedError(TailorbirdError):
    """A signature by an untrusted key, or of other content."""


class SecretMissingError(TailorbirdError):
    """A key that stored data depend on is missing on this host."""


def secret(settings: Settings, name: str) -> str:
    """Return the secret from TAILORBIRD_SECRET_<NAME> if set, else the one in `var`, which the first use creates."""
    return environment_secret(name) or stored_secret(settings.var / FOLDER, name)


def find_secret(settings: Settings, name: str) -> str | None:
    """Return a secret if it exists and can be read, else None. Creates nothing."""
    path = settings.var / FOLDER / name
    return environment_secret(name) or (path.read_text().strip() if os.access(path, os.R_OK) else None) or None


def permanent_secret(settings: Settings, name: str) -> str:
    """Return a key that stored data depend on; create it only before the installation has an id.

    Raises SecretMissingError when the key is missing later.
    """
    value = find_secret(settings, name)
    if value is None and (settings.var / INSTALLATION_ID).exists():
        raise SecretMissingError(
            f"The installation's {name} is not here. Restore the file {settings.var / FOLDER / name} from a backup, or "
            f"set {variable(name)}."
        )
    return value or secret(settings, name)


def variable(name: str) -> str:
    """Return the environment variable that replaces the file of a secret."""
    return f"TAILORBIRD_SECRET_{name.upper().replace('-', '_')}"


def stored_secret(folder: Path, name: str) -> str:
    """Return the 256-bit secret in `folder/name` (64 hex digits); create it if it is missing.

    Simultaneous processes get the same secret.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    path = folder / name
    if not path.exists():
        create_once(path, secrets.token_hex(32))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    value = path.read_text().strip()
    if not value:
        raise SecretMissingError(f"{path} is empty. Restore it from a backup.")
    return value


def environment_secret(name: str) -> str | None:
    """Return the secret that the environment holds, or None."""
    return os.environ.get(variable(name)) or None


def create_once(path: Path, value: str) -> None:
    """Write a file that only its owner can read, completely or not at all; an existing file stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(value + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


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


def sign(settings: Settings, content: bytes) -> bytes:
    """Sign content with the installation's key; return 64 bytes (RFC 8032). The first use creates the key."""
    return _private(permanent_secret(settings, SIGNING)).sign(content)


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
    return public_of(permanent_secret(settings, SIGNING))


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
    own = find_secret(settings, SIGNING)
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
