"""Creates passwords and keys in files that only their owner can read. No argument and no log contains them."""

import os
import secrets
from pathlib import Path

from infra.configuration.settings import Settings
from models.errors import TailorbirdError

FOLDER = "secrets"
IDENTITY = "identity-secret"
"""The secret with which the shop's server signs the users of its pages."""
INSTALLATION_ID = "installation-id"
"""The file in `var` with the random id of the installation. Keys may be created only while it is missing."""


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
