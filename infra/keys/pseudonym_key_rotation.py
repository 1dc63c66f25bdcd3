"""Begins and ends rotations of the pseudonym key: its rows and files. Other modules re-key the stores in between."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from infra.configuration.settings import Settings
from infra.keys import credentials
from infra.keys.credentials import (
    FOLDER,
    PSEUDONYM,
    SIGNING,
    create_once,
    environment_secret,
    find_secret,
    fingerprint,
    variable,
)
from infra.keys.trust import (
    NEXT,
    Fingerprint,
    RotationRefusedError,
    compare,
    finish_rotation,
    lock,
    newest,
    pending,
    record,
    rows,
)
from infra.private_files.folders import synchronise

_RANDOM: Final = 32


@dataclass(frozen=True)
class Rotation:
    """A rotation that has begun. Every store has to be re-keyed up to the last key of the chain."""

    secret: str
    """The whole chain, including the new key."""
    recorded: str
    """The fingerprint of the key that made the user keys in the database."""
    first: str
    """The fingerprint of the first key that the database recorded."""

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the new key."""
        return fingerprint(PSEUDONYM, self.secret)

    @property
    def generation(self) -> int:
        """Return the number of keys in the chain."""
        return len(credentials.keys(self.secret))

    @property
    def number(self) -> int:
        """Return the number that marks a table of the lake as re-keyed up to the last key."""
        return _number(self.fingerprint)

    def added_since(self, earlier: str | None) -> list[str]:
        """Return the keys that a store lacks.

        The key with the fingerprint `earlier`, or else the first key, made the user keys in the store. Raises
        RotationRefusedError when the chain does not continue that key.
        """
        added = credentials.remaining(self.secret, earlier or self.first)
        if added is None:
            raise RotationRefusedError(
                f"The lake's user keys come from a {PSEUDONYM} (fingerprint {earlier}) that the present one does not "
                "continue. Restore the secrets that belong to the lake, or a lake that belongs to them. Nothing was "
                "changed."
            )
        return added

    def missing(self, number: int | None, earlier: str | None) -> list[str]:
        """Return the keys that a table of the lake lacks, by its mark or else by the fingerprint of the lake."""
        if number is None:
            return self.added_since(earlier)
        by_number = {_number(digest): digest for digest in credentials.fingerprints(self.secret)}
        return self.added_since(by_number.get(number, f"of the number {number}"))


def _number(digest: str) -> int:
    """Return the start of a fingerprint as a number that fits into 64 bits, as Delta requires."""
    return int(digest[:15], 16)


def begin_rotation(
    engine: Engine, settings: Settings, actor: str, reason: str, check: Callable[[Rotation], None]
) -> Rotation | None:
    """Record the start of a rotation, or find a stopped one; from now on no other process works.

    Returns None when the database records the end of one already; then only its file is moved into place. The new key
    waits in its own file. Before anything is recorded, `check` may refuse. Raises RotationRefusedError when the
    environment holds a recorded key.
    """
    with engine.begin() as connection:
        lock(connection)
        records = rows(connection)
        compare(settings, records, kinds=(SIGNING,))
        current = newest(records)[PSEUDONYM]
        if finish_rotation(settings, PSEUDONYM, current.fingerprint):
            return None
        secret = _secret(settings, current, pending(records))
        first = next(row for row in records if row.kind == PSEUDONYM)
        rotation = Rotation(secret, current.fingerprint, first.fingerprint)
        check(rotation)
        if pending(records) is None:
            record(connection, PSEUDONYM, secret, actor, reason, begun=True)
    return rotation


def end_rotation(settings: Settings, rotation: Rotation) -> None:
    """Move the new key into place. The database records it as the one in use already."""
    finish_rotation(settings, PSEUDONYM, rotation.fingerprint)
    synchronise(settings.var / FOLDER)


def _secret(settings: Settings, current: Fingerprint, begun: Fingerprint | None) -> str:
    """Return the chain with its new key: from the waiting file or the environment, else newly created."""
    waiting = settings.var / FOLDER / (PSEUDONYM + NEXT)
    present = find_secret(settings, PSEUDONYM)
    candidates = [present or "", waiting.read_text().strip() if waiting.exists() else ""]
    if begun is not None:
        for secret in candidates:
            if fingerprint(PSEUDONYM, secret) == begun.fingerprint:
                return secret
        raise RotationRefusedError(
            f"{begun.actor} began to rotate the {PSEUDONYM}, and the new key is not here (fingerprint "
            f"{begun.fingerprint}). Run the command on the host where that was, or copy its file "
            f"secrets/{waiting.name} to {waiting.parent}. {_given()}Nothing was changed."
        )
    for secret in candidates:
        if credentials.remaining(secret, current.fingerprint):
            return secret
    compare(settings, [current])
    assert present is not None
    if environment_secret(PSEUDONYM):
        raise RotationRefusedError(
            f"{variable(PSEUDONYM)} holds the key that is in use. Add a new key to it, behind a comma: "
            f'`export {variable(PSEUDONYM)}="${variable(PSEUDONYM)},$(openssl rand -hex 32)"`. Run the command again '
            "with it. Then set the variable to the same content on every host, and run `tailorbird up`."
        )
    return _stored(waiting, credentials.extended(present, secrets.token_hex(_RANDOM)))


def _given() -> str:
    return f"Or set {variable(PSEUDONYM)} to the key with that fingerprint. " if environment_secret(PSEUDONYM) else ""


def _stored(waiting: Path, secret: str) -> str:
    """Store the new key durably: after a store is re-keyed, only this key identifies its users."""
    waiting.unlink(missing_ok=True)  # it continues a key that is not in use
    create_once(waiting, secret)
    synchronise(waiting.parent)
    return secret
