"""Rotates the signing key and retires earlier ones; the database records both."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, update

from infra.bundles.manifest import MANIFEST, SIGNATURE
from infra.configuration.settings import Settings
from infra.database.schema.trust_schema import fingerprints
from infra.keys import credentials, trust
from infra.keys.credentials import FOLDER, PSEUDONYM, SIGNING, environment_secret, variable
from infra.keys.trust import Fingerprint, RotationRefusedError


def rotate_signing(engine: Engine, settings: Settings, actor: str, reason: str) -> Fingerprint:
    """Sign with a new key from now on; return its row. Bundles of earlier keys stay trusted until `retire`.

    The new key is the one on this host if the database does not record it. Otherwise it is created, in its own file
    until the database records it, so the next process finishes or repeats a killed rotation. Raises
    RotationRefusedError when the environment holds a recorded key.
    """
    with engine.begin() as connection:
        trust.lock(connection)
        records = trust.rows(connection)
        trust.compare(settings, records, kinds=(PSEUDONYM,))
        key = _new_key(settings, records)
        if SIGNING not in trust.newest(records) and (present := credentials.find_secret(settings, SIGNING)):
            trust.record(connection, SIGNING, present, *trust.ADOPTED)
        if not _recorded(records, key):
            trust.record(connection, SIGNING, key, actor, reason)
        records = trust.rows(connection)
    trust.finish_rotation(settings, SIGNING, trust.newest(records)[SIGNING].fingerprint)
    trust.store_trusted_keys(settings, records)
    return trust.newest(records)[SIGNING]


def retire(engine: Engine, settings: Settings, selected: str, champion: Path | None, actor: str, reason: str) -> None:
    """Stop trusting bundles that only the signing key with this fingerprint signed.

    Raises RotationRefusedError for the key in use, for an unknown one, and when the champion depends on it.
    """
    with engine.begin() as connection:
        trust.lock(connection)
        records = trust.rows(connection)
        trust.compare(settings, records)
        row = next((row for row in records if row.kind == SIGNING and row.fingerprint == selected), None)
        if row is None or row.public_key is None:
            raise RotationRefusedError(f"No signing key has the fingerprint {selected}: see `tailorbird keys show`.")
        if row == trust.newest(records)[SIGNING]:
            raise RotationRefusedError("This signing key is in use: run `tailorbird keys rotate signing` first.")
        if champion and _signed(champion, row.public_key):
            raise RotationRefusedError(
                "This key signed the champion: run `tailorbird retrain` and promote the new model first."
            )
        conditions = (fingerprints.c.kind == SIGNING, fingerprints.c.generation == row.generation)
        values = {"retired_at": func.now(), "retired_by": actor, "retired_because": reason}
        connection.execute(update(fingerprints).where(*conditions, fingerprints.c.retired_at.is_(None)).values(values))
        records = trust.rows(connection)
    trust.store_trusted_keys(settings, records)


def list_keys(engine: Engine) -> list[dict[str, Any]]:
    """Return one row per key and for the installation, as `tailorbird keys show` prints them."""
    with engine.connect() as connection:
        records = trust.rows(connection)
    current = trust.newest(records).values()
    return [
        {
            "kind": row.kind,
            "generation": row.generation,
            "fingerprint": row.fingerprint,
            "state": _state(row, in_use=row in current),
            "since": row.since,
            "actor": row.actor,
            "reason": row.reason,
        }
        for row in records
    ]


def _state(row: Fingerprint, *, in_use: bool) -> str:
    if row.pending:
        return "rotation not finished"
    if in_use:
        return "in use"
    if row.kind == PSEUDONYM:
        return "replaced"
    return "retired" if row.retired_at else "trusted"


def _new_key(settings: Settings, records: list[Fingerprint]) -> str:
    present = credentials.find_secret(settings, SIGNING)
    if present and SIGNING in trust.newest(records) and not _recorded(records, present):
        return present
    if environment_secret(SIGNING):
        raise RotationRefusedError(
            f"{variable(SIGNING)} holds the key that is in use, or an earlier one. Set it to a new one, such as "
            "`openssl rand -hex 32` prints, for this command and on every host that trains; then run the command again."
        )
    return credentials.stored_secret(settings.var / FOLDER, SIGNING + trust.NEXT)


def _recorded(records: list[Fingerprint], key: str) -> bool:
    return credentials.fingerprint(SIGNING, key) in {row.fingerprint for row in records if row.kind == SIGNING}


def _signed(folder: Path, public_key: str) -> bool:
    try:
        content, signature = ((folder / name).read_bytes() for name in (MANIFEST, SIGNATURE))
    except OSError:  # a missing bundle depends on no key
        return False
    return credentials.signed_by(public_key, content, signature)
