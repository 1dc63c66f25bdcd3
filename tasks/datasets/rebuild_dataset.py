"""Builds an old data set again from the same events and users, and compares the results."""

from collections.abc import Sequence
from typing import TypedDict

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError
from prefect import task
from sqlalchemy import select

from infra.database.schema.schema import suppressions, users
from infra.installation import Installation, current
from models import columns
from models.datasets.labels import LabelConfig
from models.datasets.time_splits import Cuts
from models.errors import TailorbirdError
from tasks.datasets.build_dataset import FORMAT
from tasks.datasets.content_hash import ENGINE, content_hash
from tasks.datasets.event_workspace import Workspace, workspace
from tasks.datasets.load_dataset import DatasetManifest, manifest_of
from tasks.datasets.snapshot_tables import COPIED, TablePart, keys_of, parts, stored_rows
from tasks.lake.reference_data import ReferenceData
from tasks.orchestration.guards import hold_pseudonym_key


class VersionGoneError(TailorbirdError):
    """The inputs or the code of an old data set are gone."""


class RebuiltDataset(TypedDict):
    """The comparison of a rebuilt data set with the stored one."""

    version: str
    same: bool
    differs: list[str]
    """Tables with other content."""
    users_left: int
    """Users who were suppressed or have withdrawn consent since."""


@task(description="Build an old data set again and compare it with the stored one.")
@hold_pseudonym_key
def rebuild_dataset(version: str) -> RebuiltDataset:
    """Compute a data set again without storing it, and compare it with the stored one.

    Users who were suppressed or have withdrawn consent since are left out, so the content then differs.
    """
    installation = current()
    manifest = manifest_of(installation, version)
    if manifest["format"] != FORMAT:
        raise VersionGoneError(
            f"{version} was built by an earlier version of Tailorbird, which computed features in another way. It "
            "stays usable. Build a new data set with `tailorbird features`."
        )
    known, users_left = _known_then(installation, version)
    moments = Cuts(*(manifest[name] for name in ("validation_from", "test_from", "as_of")))
    with workspace(installation, known, _files(installation, manifest["events_version"])) as space:
        stored = _digests(installation, space, manifest)
        rebuilt = {}
        for name, table_parts in parts(space, known, moments, LabelConfig.from_dict(manifest["label"])).items():
            _store(space, f"rebuilt_{name}", table_parts)
            rebuilt[name] = content_hash(space.connection, f"rebuilt_{name}", keys_of(name))
    differs = [name for name, digest in rebuilt.items() if digest != stored[name]]
    return {"version": version, "same": not differs, "differs": differs, "users_left": users_left}


def _store(space: Workspace, name: str, table_parts: Sequence[TablePart]) -> None:
    with space.cursor() as cursor:  # rows stream from the cursor into the table
        for number, part in enumerate(table_parts):
            rows = space.connection.from_arrow(part(cursor))
            store = rows.insert_into if number else rows.create
            store(name)


def _digests(installation: Installation, space: Workspace, manifest: DatasetManifest) -> dict[str, str]:
    """Return the digests of the manifest, or compute those of the stored tables if the hash function differs."""
    recorded = manifest["content_hash"]
    if manifest["hashed_by"] == ENGINE:
        return recorded
    stored = {name: stored_rows(installation, manifest["version"], name) for name in recorded}
    return {name: content_hash(space.connection, rows, keys_of(name)) for name, rows in stored.items()}


def _files(installation: Installation, events_version: int) -> list[str]:
    try:
        return installation.lake.event_files(events_version)
    except DeltaError as error:
        raise VersionGoneError(
            f"Version {events_version} of the events cannot be read any more ({error}). Build a new data set with "
            "`tailorbird features`."
        ) from error


def _known_then(installation: Installation, version: str) -> tuple[ReferenceData, int]:
    """Return the reference data of the data set without the users who have left since, and their number."""
    tables = {name: installation.lake.read_dataset(version, name) for name in COPIED}
    gone = select(suppressions.c.user_key)
    staying = select(users.c.user_key).where(users.c.consent, users.c.user_key.not_in(gone))
    with installation.engine.connect() as connection:
        remaining = pa.array(connection.execute(staying).scalars().all(), pa.string())
    filtered = {
        name: rows.filter(pc.is_in(rows[columns.USER_KEY], value_set=remaining))
        for name, rows in tables.items()
        if name in ("users", "user_history")
    }
    known = ReferenceData(**(tables | filtered), claims=installation.settings.train_on_claims == "yes")
    return known, len(tables["users"]) - len(filtered["users"])
