"""Records the fingerprints of keys, and checks that keys, `var` and database belong to one installation.

A process whose keys do not fit stops.
"""

import secrets
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from psycopg2.errors import UndefinedTable
from sqlalchemy import Connection, Engine, Table, exists, func, insert, or_, select, update
from sqlalchemy.exc import ProgrammingError

from infra.configuration.settings import Settings
from infra.database.schema.schema import identities, promotions, suppressions, users
from infra.database.schema.trust_schema import fingerprints
from infra.keys import credentials
from infra.keys.credentials import FOLDER, INSTALLATION, INSTALLATION_ID, KEYS, PSEUDONYM, SIGNING, TRUSTED, variable
from models.errors import TailorbirdError

_LOCK: Final = 0x7A12
NEXT: Final = ".next"
"""The suffix of the file that holds a new key until the database records it."""
_SAMPLE: Final = 20
ADOPTED: Final = ("tailorbird", "found at the first start")
"""Actor and reason of a key that nobody rotated."""
_LOST: Final = 'If it is lost: `tailorbird keys rotate signing --reason "lost"`. '
_NEWER: Final = (
    "If the key here is newer than the database, which was restored: `tailorbird keys rotate {} --reason "
    '"restored"` records it. '
)
NOTHING_CHANGED: Final = "Nothing was changed."


_COMPARED: Final[MutableMapping[Engine, str]] = WeakKeyDictionary()
"""The fingerprint of the pseudonym key that this process has compared, by database."""


class InstallationRefusedError(TailorbirdError):
    """Keys, `var`, lake and database do not belong together."""


class RotationRefusedError(TailorbirdError):
    """A key cannot be replaced or retired now."""


class KeyRotatingError(TailorbirdError):
    """The pseudonym key is being rotated, or was rotated since this process began."""


@dataclass(frozen=True)
class Fingerprint:
    """One row: a key of the installation, or its random id."""

    kind: str
    generation: int
    fingerprint: str
    public_key: str | None
    """64 hex digits; None unless it is a signing key."""
    actor: str
    reason: str
    since: datetime
    retired_at: datetime | None
    retired_by: str | None
    retired_because: str | None
    pending: bool
    """Whether a rotation of the pseudonym key has begun and some stores are not re-keyed yet."""


def rows(connection: Connection) -> list[Fingerprint]:
    """Return every row, the newest of each kind last."""
    ordered = select(fingerprints).order_by(fingerprints.c.kind, fingerprints.c.generation)
    return [Fingerprint(**row) for row in connection.execute(ordered).mappings()]


def newest(records: list[Fingerprint]) -> Mapping[str, Fingerprint]:
    """Return the row in use, by kind."""
    return {row.kind: row for row in records if not row.pending}


def pending(records: list[Fingerprint]) -> Fingerprint | None:
    """Return the row of an unfinished rotation; None without one."""
    return next((row for row in records if row.pending), None)


def trusted(records: list[Fingerprint]) -> list[str]:
    """Return the public signing keys that are not retired, sorted."""
    return sorted(row.public_key for row in records if row.public_key and row.retired_at is None)


def lock(connection: Connection) -> None:
    """Wait until no other process changes the rows; the end of the transaction releases the lock."""
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def record(connection: Connection, kind: str, value: str, actor: str, reason: str, *, begun: bool = False) -> None:
    """Insert a key, or the installation's id, as the newest of its kind. Call it under the lock.

    With `begun` the key is not in use before `complete_rotation`.
    """
    latest = newest(rows(connection)).get(kind)
    row = {
        "kind": kind,
        "generation": latest.generation + 1 if latest else 1,
        "fingerprint": value if kind == INSTALLATION else credentials.fingerprint(kind, value),
        "public_key": credentials.public_of(value) if kind == SIGNING else None,
        "actor": actor,
        "reason": reason,
    }
    connection.execute(insert(fingerprints).values(row | ({"pending": True} if begun else {})))


def complete_rotation(connection: Connection) -> None:
    """Put the pending key into use."""
    change = update(fingerprints).where(fingerprints.c.pending).values(pending=False, since=func.now())
    connection.execute(change)


def check(engine: Engine, settings: Settings) -> str:
    """Compare `var` and keys with the database, or adopt them if it records none; return the installation's id.

    It takes one query when everything is recorded. Raises InstallationRefusedError, or KeyRotatingError during a
    rotation, before anything is created or changed.
    """
    records = recorded(engine)
    refuse_pending(records)
    if {INSTALLATION, *KEYS} - newest(records).keys():
        _adopt(engine, settings)
        records = recorded(engine)
    compare(settings, records)
    _COMPARED[engine] = newest(records)[PSEUDONYM].fingerprint
    installation = newest(records)[INSTALLATION].fingerprint
    path = settings.var / INSTALLATION_ID
    if not path.exists():
        credentials.create_once(_made(path.parent) / INSTALLATION_ID, installation)
    store_trusted_keys(settings, records)
    return installation


def check_reader(engine: Engine, settings: Settings, required: Sequence[str] = ()) -> None:
    """Compare this host's keys and `var` with the database; create and record nothing.

    This host must have the `required` keys that the database records. Raises InstallationRefusedError.
    """
    try:
        records = recorded(engine)
    except ProgrammingError as error:
        if isinstance(error.orig, UndefinedTable):  # the next `up` creates the table
            return
        raise
    if required:  # readers continue: the database is re-keyed in one transaction
        refuse_pending(records)
    compare(settings, records, required=required)
    if (settings.var / INSTALLATION_ID).exists():
        store_trusted_keys(settings, records)


def refuse_pending(records: list[Fingerprint]) -> None:
    """Raise KeyRotatingError while a rotation of the pseudonym key is not finished."""
    row = pending(records)
    if row is not None:
        raise KeyRotatingError(
            f"The {row.kind} is being rotated (by {row.actor}, since {row.since:%Y-%m-%d %H:%M}). Wait until "
            "`tailorbird keys rotate pseudonym` has ended. If it was stopped, run it again on the same host: it goes "
            f"on. {NOTHING_CHANGED}"
        )


def confirm_key(connection: Connection) -> None:
    """Raise KeyRotatingError if this process has compared another pseudonym key."""
    records = rows(connection)
    refuse_pending(records)
    row, compared = newest(records).get(PSEUDONYM), _COMPARED.get(connection.engine)
    if row and compared and row.fingerprint != compared:
        raise KeyRotatingError(
            f"The {PSEUDONYM} was rotated since this process began: run the same command again. {NOTHING_CHANGED}"
        )


def store_trusted_keys(settings: Settings, records: list[Fingerprint]) -> None:
    """Write the trusted public keys beside the secrets: bundles are verified without the database."""
    path = settings.var / FOLDER / TRUSTED
    content = "".join(f"{key}\n" for key in trusted(records))
    if content and (not path.exists() or path.read_text() != content):
        _made(path.parent)
        draft = path.with_name(f".{TRUSTED}.{secrets.token_hex(8)}")
        credentials.create_once(draft, content.strip())
        draft.replace(path)


def finish_rotation(settings: Settings, kind: str, recorded: str) -> bool:
    """Move a new key into place if the database records it already: a rotation was interrupted after its commit."""
    path = settings.var / FOLDER / kind
    waiting = path.with_name(kind + NEXT)
    if credentials.environment_secret(kind) or not waiting.exists():
        return False
    if credentials.fingerprint(kind, waiting.read_text().strip()) != recorded:
        return False
    with suppress(FileNotFoundError):  # another process finished it first
        waiting.replace(path)
    return True


def compare(
    settings: Settings, records: list[Fingerprint], kinds: Sequence[str] = KEYS, required: Sequence[str] = KEYS
) -> None:
    """Compare `var` and the keys of these kinds with the rows; a key that is not `required` may be missing.

    Raises InstallationRefusedError.
    """
    in_use = newest(records)
    _compare_var(settings, in_use.get(INSTALLATION))
    for row in (in_use[kind] for kind in kinds if kind in in_use):
        key = credentials.find_secret(settings, row.kind)
        if key is None and row.kind not in required:
            continue
        fits = key is not None and credentials.fingerprint(row.kind, key) == row.fingerprint
        if not fits and not finish_rotation(settings, row.kind, row.fingerprint):
            raise InstallationRefusedError(
                _missing_key(settings, row) if key is None else _mismatch(settings, records, row, key)
            )


def _compare_var(settings: Settings, row: Fingerprint | None) -> None:
    path, own = settings.var / INSTALLATION_ID, _own_id(settings.var)
    if own and row and own != row.fingerprint:
        raise InstallationRefusedError(
            f"{settings.var} belongs to another installation ({own}) than this database ({row.fingerprint}). Correct "
            f"TAILORBIRD_VAR or TAILORBIRD_DATABASE_URL. If you joined the two on purpose, delete {path}. "
            f"{NOTHING_CHANGED}"
        )


def _missing_key(settings: Settings, row: Fingerprint) -> str:
    return (
        f"This database depends on a {row.kind} (fingerprint {row.fingerprint}) that is not here. Copy the file "
        f"secrets/{row.kind} of the installation's var folder, or of its backup, to {settings.var / FOLDER}, or set "
        f"{variable(row.kind)}. {_LOST if row.kind == SIGNING else ''}{NOTHING_CHANGED}"
    )


def _mismatch(settings: Settings, records: list[Fingerprint], row: Fingerprint, key: str) -> str:
    own, place = credentials.fingerprint(row.kind, key), credentials.key_source(settings, row.kind)
    head = f"The {row.kind} of {place} (fingerprint {own}) is not the one of this database"
    if row.kind == PSEUDONYM and own in {earlier.fingerprint for earlier in records if earlier.kind == PSEUDONYM}:
        return (
            f"{head}: {row.actor} rotated it on {row.since:%Y-%m-%d} (fingerprint {row.fingerprint}). Copy the file "
            f"secrets/{row.kind} of the host where that was done to {settings.var / FOLDER}, or set "
            f"{variable(row.kind)} to its content. {NOTHING_CHANGED}"
        )
    return (
        f"{head} (fingerprint {row.fingerprint}, since {row.since:%Y-%m-%d}). Restore that key there, or "
        f"correct TAILORBIRD_DATABASE_URL or TAILORBIRD_VAR. {_newer(row, key)}{NOTHING_CHANGED}"
    )


def _newer(row: Fingerprint, key: str) -> str:
    """Return the advice for a database that may have been restored from before a rotation."""
    if row.kind == SIGNING:
        return _NEWER.format("signing")
    return _NEWER.format("pseudonym") if credentials.remaining(key, row.fingerprint) else ""


def recorded(engine: Engine) -> list[Fingerprint]:
    """Return the rows of the keys and of the installation's id."""
    with engine.connect() as connection:
        return rows(connection)


def _adopt(engine: Engine, settings: Settings) -> None:
    """Record this host's keys. Of several simultaneous processes the first one records, and the others compare."""
    with engine.begin() as connection:
        lock(connection)
        records = rows(connection)
        compare(settings, records)
        in_use = newest(records)
        filled = has_rows(connection, users, suppressions)
        if INSTALLATION not in in_use:
            record(connection, INSTALLATION, _id_for(settings, filled=filled), *ADOPTED)
        if PSEUDONYM not in in_use:
            record(connection, PSEUDONYM, _pseudonym_key(connection, settings, filled=filled), *ADOPTED)
        if SIGNING not in in_use:
            record(connection, SIGNING, _signing_key(connection, settings), *ADOPTED)


def _id_for(settings: Settings, *, filled: bool) -> str:
    own = _own_id(settings.var)
    if own and not filled:
        raise InstallationRefusedError(
            f"This database is empty, and {settings.var} belongs to an installation with data ({own}). Correct "
            "TAILORBIRD_DATABASE_URL or restore its backup; for a new installation name a new folder in TAILORBIRD_VAR."
        )
    return own or secrets.token_hex(16)


def _pseudonym_key(connection: Connection, settings: Settings, *, filled: bool) -> str:
    """Return the pseudonym key; create it only for a database without users. It has to fit the stored ids."""
    key = credentials.find_secret(settings, PSEUDONYM)
    if key is None:
        if filled:
            raise InstallationRefusedError(
                f"This database holds users, and their {PSEUDONYM} is not here. Copy the file secrets/{PSEUDONYM} of "
                f"the installation's var folder to {settings.var / FOLDER}, or set {variable(PSEUDONYM)}."
            )
        return credentials.secret(settings, PSEUDONYM)
    stored = connection.execute(select(identities.c.user_id, identities.c.user_key).limit(_SAMPLE)).all()
    if stored and not any(credentials.hashed(row.user_id, credentials.keys(key)) == row.user_key for row in stored):
        raise InstallationRefusedError(
            f"The {PSEUDONYM} of {credentials.key_source(settings, PSEUDONYM)} does not fit the users of this "
            "database. Restore the key they were ingested with, or correct TAILORBIRD_DATABASE_URL or TAILORBIRD_VAR."
        )
    return key


def _signing_key(connection: Connection, settings: Settings) -> str:
    key = credentials.find_secret(settings, SIGNING)
    if key is None and has_rows(connection, promotions):
        raise InstallationRefusedError(
            f"The {SIGNING} of the promoted models is not here. Copy the file secrets/{SIGNING} of the installation's "
            f"var folder to {settings.var / FOLDER}, or set {variable(SIGNING)}. {_LOST}{NOTHING_CHANGED}"
        )
    return key or credentials.secret(settings, SIGNING)


def has_rows(connection: Connection, *tables: Table) -> bool:
    """Return whether one of the tables has a row."""
    return bool(connection.execute(select(or_(*(exists(select(table)) for table in tables)))).scalar())


def _own_id(var: Path) -> str | None:
    path = var / INSTALLATION_ID
    return path.read_text().strip() if path.exists() else None


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
