"""Passwords and keys: made here, kept in files that only their owner can read, never in an argument or a log."""

import os
import secrets
from pathlib import Path

from infra.settings import Settings

FOLDER = "secrets"


def secret(settings: Settings, name: str) -> str:
    """The secret of that name: TAILORBIRD_SECRET_<NAME> if set, else the one in `var`, made on first use."""
    return _given(name) or kept_secret(settings.var / FOLDER, name)


def known_secret(settings: Settings, name: str) -> str | None:
    """The same secret where it is there and may be read; nothing is made, as a new one would fit nothing."""
    path = settings.var / FOLDER / name
    return _given(name) or (path.read_text().strip() if os.access(path, os.R_OK) else None)


def kept_secret(folder: Path, name: str) -> str:
    """The 256-bit secret in `folder/name` (64 hex digits). Two processes at once get the same one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    path = folder / name
    if not path.exists():
        _create(path, secrets.token_hex(32))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return path.read_text().strip()


def _given(name: str) -> str | None:
    return os.environ.get(f"TAILORBIRD_SECRET_{name.upper().replace('-', '_')}") or None


def _create(path: Path, value: str) -> None:
    """The file appears complete or not at all, and never replaces one that came first."""
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
