"""Keeps the keys of erased users in a file beside the secrets too: a database of before would bring the users back."""

import json
import os
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine, select

from infra.configuration.settings import Settings
from infra.database.privacy_requests import Asked, record_request
from infra.database.schema.privacy_schema import ERASE
from infra.database.schema.schema import users
from infra.installation import Installation
from infra.keys.credentials import FOLDER
from infra.private_files.folders import staged

FILE: Final = "erased-users.json"
"""In `var/secrets`: the moment of the erasure by user key. `verify` leaves it out."""
_REASON: Final = "A restored database knew users who had been erased since."


def write_tombstones(engine: Engine, settings: Settings) -> None:
    """Write the keys of all erased users, in place of the file before."""
    with engine.connect() as connection:
        erased = {key: at.isoformat() for key, at in _erased(connection).items()}
    folder = settings.var / FOLDER
    with staged(folder) as staging:
        path = staging / FILE
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(erased, file, indent=1, sort_keys=True)
        path.replace(folder / FILE)


def erase_restored(installation: Installation) -> int | None:
    """Request the erasure of users whose erasure the database has forgotten; returns the request, or None."""
    kept = _read(installation.settings)
    if not kept:
        return None
    with installation.engine.begin() as connection:
        erased = _erased(connection)
        returned = [key for key, at in kept.items() if key not in erased or erased[key] < at]
        if not returned:
            return None
        asked = Asked(ERASE, dict.fromkeys(returned), "tailorbird", _REASON)
        return record_request(connection, asked, installation.settings.privacy_due_days, waits=True)


def _erased(connection: Connection) -> dict[str, datetime]:
    rows = select(users.c.user_key, users.c.erased_at).where(users.c.erased_at.is_not(None))
    return {row.user_key: row.erased_at for row in connection.execute(rows)}


def _read(settings: Settings) -> dict[str, datetime]:
    try:
        content = json.loads((settings.var / FOLDER / FILE).read_text())
    except FileNotFoundError:
        return {}
    return {key: datetime.fromisoformat(at) for key, at in content.items()}
