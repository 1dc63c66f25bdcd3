"""The key that encrypts the secrets of backups and seals their lists of files."""

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cryptography.fernet import Fernet, InvalidToken

from infra.backup.repository import BackupRefusedError
from infra.configuration.settings import Settings
from infra.keys.credentials import find_secret, secret, variable

NAME: Final = "backup-key"
_FORM: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BackupKey:
    """32 random bytes."""

    value: bytes

    @classmethod
    def of(cls, settings: Settings, *, create: bool = True) -> "BackupKey":
        """Return the key from its variable or its file, which the first backup creates. Raises BackupRefusedError."""
        given = secret(settings, NAME) if create else find_secret(settings, NAME)
        if given is None:
            raise BackupRefusedError(
                f"The backup is encrypted: put its key, which `tailorbird backup key` printed, into {variable(NAME)}."
            )
        if not _FORM.fullmatch(given):
            raise BackupRefusedError(f"The backup key has to be 64 hex digits: correct {variable(NAME)} or its file.")
        return cls(bytes.fromhex(given))

    @property
    def fingerprint(self) -> str:
        """Return 32 hex digits that identify the key."""
        return hashlib.sha256(b"tailorbird fingerprint of backup-key\0" + self.value).hexdigest()[:32]

    def encrypt(self, content: bytes) -> bytes:
        """Return the encrypted content, by Fernet (AES-128 in CBC mode, HMAC-SHA256)."""
        return self._fernet.encrypt(content)

    def decrypt(self, content: bytes) -> bytes:
        """Return the content. Raises BackupRefusedError for content that another key encrypted."""
        try:
            return self._fernet.decrypt(content)
        except InvalidToken:
            raise BackupRefusedError("The secrets of the backup were changed, or another key encrypted them.") from None

    @property
    def _fernet(self) -> Fernet:
        return Fernet(base64.urlsafe_b64encode(self.value))
