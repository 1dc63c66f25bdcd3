"""Builds an old data set again, from the events and the users it names, and compares: nothing may have moved."""

from collections.abc import Sequence
from typing import Any

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
from tasks.datasets.load_dataset import manifest_of
from tasks.datasets.snapshot_tables import COPIED, Part, keys_of, parts, stored_rows
from tasks.lake.reference_data import ReferenceData
from tasks.orchestration.pseudonym_key_guard import hold_pseudonym_key


class VersionGoneError(TailorbirdError):
    """What a data set was built from, or how, is no longer there."""


@task(description="An old data set built again and compared with what it was.")
@hold_pseudonym_key
def rebuild_dataset(version: str) -> dict[str, Any]:
    """Work a data set out again, without storing it; returns its version, what differs, and how many users have left.

    Users who were erased, suppressed or have withdrawn since are left out, so then the content differs.
    """
    installation = current()
    manifest = manifest_of(installation, version)
    if manifest["format"] != FORMAT:
        raise VersionGoneError(
            f"{version} was built by an earlier version of Tailorbird, which worked features out in another way. It "
            "stays usable. Build a new data set with `tailorbird features`."
        )
    known, left = _known_then(installation, version)
    moments = Cuts(*(manifest[name] for name in ("validation_from", "test_from", "as_of")))
    with workspace(installation, known, _files(installation, manifest["events_version"])) as space:
        then = _digests(installation, space, manifest)
        found = {}
        for name, made in parts(space, known, moments, LabelConfig.from_dict(manifest["label"])).items():
            _store(space, f"rebuilt_{name}", made)
            found[name] = content_hash(space.connection, f"rebuilt_{name}", keys_of(name))
    differs = [name for name, digest in found.items() if digest != then[name]]
    return {"version": version, "same": not differs, "differs": differs, "users_left": left}


def _store(space: Workspace, name: str, made: Sequence[Part]) -> None:
    with space.cursor() as mine:  # what is worked out there streams into the table here
        for number, part in enumerate(made):
            rows = space.connection.from_arrow(part(mine))
            store = rows.insert_into if number else rows.create
            store(name)


def _digests(installation: Installation, space: Workspace, manifest: dict[str, Any]) -> dict[str, str]:
    """Those of the manifest, or those of what is stored, when an engine took them that has another hash function."""
    noted: dict[str, str] = manifest["content_hash"]
    if manifest["hashed_by"] == ENGINE:
        return noted
    stored = {name: stored_rows(installation, manifest["version"], name) for name in noted}
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
    """What the data set was made of, less who has left since; and how many those are."""
    tables = {name: installation.lake.read_dataset(version, name) for name in COPIED}
    gone = select(suppressions.c.user_key)
    staying = select(users.c.user_key).where(users.c.consent, users.c.user_key.not_in(gone))
    with installation.engine.connect() as connection:
        here_still = pa.array(connection.execute(staying).scalars().all(), pa.string())
    kept = {
        name: rows.filter(pc.is_in(rows[columns.USER_KEY], value_set=here_still))
        for name, rows in tables.items()
        if name in ("users", "user_history")
    }
    return ReferenceData(**(tables | kept)), len(tables["users"]) - len(kept["users"])
