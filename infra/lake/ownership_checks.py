"""Checks that lake and database belong together: the same installation and key, and the events are present."""

from typing import NoReturn

from sqlalchemy import Engine, exists, select

from infra.configuration.settings import Settings
from infra.database.schema.ledger_schema import COMMITTED
from infra.database.schema.schema import ingest_batches
from infra.keys.credentials import PSEUDONYM
from infra.keys.trust import NOTHING_CHANGED, InstallationRefusedError, check, has_rows, newest, recorded
from infra.lake.delta_lake import Lake


def check_installation(engine: Engine, settings: Settings) -> None:
    """Run all checks, for `up`. A lake in an object store is checked at its first use, because it may be slow."""
    installation = check(engine, settings)
    if "://" not in settings.lake:
        check_lake(engine, Lake(settings.lake), installation)


def check_lake(engine: Engine, lake: Lake, installation: str) -> None:
    """Compare the lake's owner and key with the installation's; a lake without an owner is claimed.

    Raises InstallationRefusedError for a lake of another installation, from before or after a rotation, or without its
    events.
    """
    _require_events(engine, lake)
    owned, records = lake.ownership(), recorded(engine)
    key = newest(records)[PSEUDONYM]
    if owned is None:
        with engine.connect() as connection:
            unknown = not has_rows(connection, ingest_batches)
        if unknown and lake.has_events():
            raise InstallationRefusedError(
                f"The lake {lake.root} holds events, and this database has never ingested any. Correct TAILORBIRD_LAKE "
                f"or TAILORBIRD_DATABASE_URL, or give the new database an empty lake. {NOTHING_CHANGED}"
            )
        lake.claim_for(installation, key.fingerprint)
        owned = lake.ownership()  # another database may have claimed it first
    if owned is None or owned.installation != installation:
        refuse_lake(lake, owned.installation if owned else None, installation)
    lake_key = owned.key or next(row.fingerprint for row in records if row.kind == PSEUDONYM)
    if lake_key != key.fingerprint:
        raise InstallationRefusedError(
            f"The users of the lake {lake.root} are named with another {PSEUDONYM} (fingerprint {lake_key}) than those "
            f"of this database ({key.fingerprint}): one of the two was restored from before a rotation. Restore lake, "
            "database and secrets from backups of the same time, or run "
            f'`tailorbird keys rotate pseudonym --reason "restored"`, which re-keys both. {NOTHING_CHANGED}'
        )


def refuse_lake(lake: Lake, owner: str | None, installation: str) -> NoReturn:
    """Raise InstallationRefusedError for a lake of another installation."""
    raise InstallationRefusedError(
        f"The lake {lake.root} belongs to another installation ({owner}) than this database ({installation}). "
        "Correct TAILORBIRD_LAKE or TAILORBIRD_DATABASE_URL. If you joined the two on purpose, delete the folder "
        f"`installation` of the lake. {NOTHING_CHANGED}"
    )


def _require_events(engine: Engine, lake: Lake) -> None:
    """Refuse an empty lake, such as a folder whose disk is not mounted, for a database that has ingested events."""
    columns = ingest_batches.c
    stored = (columns.dataset == "events") & (columns.status == COMMITTED) & (columns.accepted > 0)
    with engine.connect() as connection:
        expected = connection.execute(select(exists(select(columns.batch_id).where(stored)))).scalar()
    if expected and not lake.has_events():
        raise InstallationRefusedError(
            f"The lake {lake.root} holds no events, and this database has ingested some. Mount its disk, correct "
            "TAILORBIRD_LAKE, or restore the lake from a backup. Without one, start a new installation with an empty "
            f"database. {NOTHING_CHANGED}"
        )
