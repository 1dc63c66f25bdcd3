"""Begins and ends rotations of the pseudonym key: what is kept outside of the stores that are re-keyed in between."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from infra.configuration.settings import Settings
from infra.keys import key_chain
from infra.keys.credentials import FOLDER, create_once, environment_secret, find_secret, variable
from infra.keys.fingerprints import PSEUDONYM, SIGNING, Fingerprint, fingerprint, lock, newest, pending, record, rows
from infra.keys.trust import NEXT, RotationRefusedError, compare, finish_rotation

_RANDOM: Final = 32


@dataclass(frozen=True)
class Rotation:
    """A rotation that has begun: every store is to be re-keyed up to the last key of the chain."""

    secret: str
    """The whole chain, with the new key."""
    recorded: str
    """The fingerprint of the key that the database's tables are named with."""
    first: str
    """The fingerprint of the first key that the database recorded."""

    @property
    def fingerprint(self) -> str:
        """Of the new key."""
        return fingerprint(PSEUDONYM, self.secret)

    @property
    def generation(self) -> int:
        """How many keys the chain has."""
        return len(key_chain.keys(self.secret))

    @property
    def number(self) -> int:
        """The number that marks a table of the lake as re-keyed up to the last key."""
        return _number(self.fingerprint)

    def added_since(self, earlier: str | None) -> list[str]:
        """The keys that a store lacks whose users are named by the key with the fingerprint `earlier`, or the first.

        Raises RotationRefusedError when the chain does not continue that key.
        """
        added = key_chain.remaining(self.secret, earlier or self.first)
        if added is None:
            raise RotationRefusedError(
                f"The lake is named with a {PSEUDONYM} (fingerprint {earlier}) that the present one does not continue. "
                "Restore the secrets that belong to the lake, or a lake that belongs to them. Nothing was changed."
            )
        return added

    def missing(self, number: int | None, earlier: str | None) -> list[str]:
        """The same for a table of the lake that has a mark; without one it is what the lake itself says."""
        if number is None:
            return self.added_since(earlier)
        named = {_number(one): one for one in key_chain.fingerprints(self.secret)}
        return self.added_since(named.get(number, f"of the number {number}"))


def _number(named: str) -> int:
    """Delta keeps whole numbers of 64 bits."""
    return int(named[:15], 16)


def begin(
    engine: Engine, settings: Settings, actor: str, reason: str, check: Callable[[Rotation], None]
) -> Rotation | None:
    """Record that a rotation has begun, or find the one that was stopped; from now on no other process works.

    None when the database records the end of one already: then only its file had to be put in its place. The new key
    waits in a file of its own. Before anything is recorded `check` may refuse. Raises RotationRefusedError when the
    environment holds a recorded key.
    """
    with engine.begin() as connection:
        lock(connection)
        found = rows(connection)
        compare(settings, found, kinds=(SIGNING,))
        current = newest(found)[PSEUDONYM]
        if finish_rotation(settings, PSEUDONYM, current.fingerprint):
            return None
        secret = _secret(settings, current, pending(found))
        first = next(row for row in found if row.kind == PSEUDONYM)
        rotation = Rotation(secret, current.fingerprint, first.fingerprint)
        check(rotation)
        if pending(found) is None:
            record(connection, PSEUDONYM, secret, actor, reason, begun=True)
    return rotation


def end(settings: Settings, rotation: Rotation) -> None:
    """Put the new key in its place; the database records it as the one in use."""
    finish_rotation(settings, PSEUDONYM, rotation.fingerprint)
    _sync(settings.var / FOLDER)


def _secret(settings: Settings, current: Fingerprint, begun: Fingerprint | None) -> str:
    """The chain with its new key: one that waits or was given, else one that is made now."""
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
        if key_chain.remaining(secret, current.fingerprint):
            return secret
    compare(settings, [current])
    assert present is not None
    if environment_secret(PSEUDONYM):
        raise RotationRefusedError(
            f"{variable(PSEUDONYM)} holds the key that is in use. Add a new key to it, behind a comma: "
            f'`export {variable(PSEUDONYM)}="${variable(PSEUDONYM)},$(openssl rand -hex 32)"`. Run the command again '
            "with it. Then set the variable to the same content on every host, and run `tailorbird up`."
        )
    return _made(waiting, key_chain.extended(present, secrets.token_hex(_RANDOM)))


def _given() -> str:
    return f"Or set {variable(PSEUDONYM)} to the key with that fingerprint. " if environment_secret(PSEUDONYM) else ""


def _made(waiting: Path, secret: str) -> str:
    """Keep the new key: once a store is re-keyed nothing else can name its users."""
    waiting.unlink(missing_ok=True)  # it continues another key than the one in use
    create_once(waiting, secret)
    _sync(waiting.parent)
    return secret


def _sync(folder: Path) -> None:
    """Let the names of files outlive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
