"""Builds data sets, from which models learn: features at three moments, as snapshots in the lake; also old ones."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, TypedDict, cast

import duckdb
import narwhals as nw
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError
from prefect import task
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from infra.database.bulk_copy import copy_table
from infra.database.schema.ledger_schema import audit_log
from infra.database.schema.schema import datasets, segment_descriptions, segments, suppressions, users
from infra.installation import Installation, current
from infra.overview import situation
from models import columns
from models.datasets import time_splits
from models.datasets.acceptance import Acceptance
from models.datasets.labels import LabelConfig
from models.datasets.time_splits import By, Cuts, SplitConfig
from models.errors import TailorbirdError
from models.features.segments import trait_pooling
from models.features.segments.segmentation import Segments
from models.features.tables.registry import TABLES
from models.primitives.json_types import JsonObject
from tasks.datasets.check_dataset import Draft, check_acceptance, check_dataset
from tasks.datasets.event_workspace import Workspace, workspace
from tasks.datasets.load_dataset import DatasetManifest, Definition, SnapshotRecord, manifest_of, stored_manifest
from tasks.datasets.prices_paid import store_prices_paid
from tasks.datasets.snapshot_tables import COPIED, ENGINE, TablePart, content_hash, keys_of, parts, stored_rows, write
from tasks.lake.reference_data import ReferenceData, read_reference_data
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.orchestration.progress import progress

FORMAT: Final = 7
_SEED = 7


@dataclass(frozen=True)
class _Plan:
    """The inputs of a data set. The same plan on the same batches gives the same version."""

    events_version: int
    known: ReferenceData
    config: SplitConfig
    label: LabelConfig

    def definition(self) -> Definition:
        """Return the definition with its digest.

        The version of the events alone is not enough: a closed batch, a new catalogue or a withdrawn consent changes
        the data set without a new version.
        """
        known = self.known
        inputs = {
            "format": FORMAT,
            "events_version": self.events_version,
            "split": self.config.as_dict(),
            "label": self.label.as_dict(),
            "features": {name: [feature.name for feature in table.features] for name, table in TABLES.items()},
            "batches": _digest(known.batches["batch_id"].to_pylist()),
            "users": _digest(known.users[columns.USER_KEY].to_pylist()),
            "aliases": _digest([f"{row['device']} {row['known']}" for row in known.aliases.to_pylist()]),
        }
        return cast(Definition, inputs | {"definition": _digest([json.dumps(inputs, sort_keys=True)])})


def _digest(names: list[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _find_defined(installation: Installation, definition: str) -> DatasetManifest | None:
    """Return the data set with the same definition, or None."""
    same = select(datasets.c.manifest).where(datasets.c.manifest["definition"].astext == definition)
    with installation.engine.connect() as connection:
        manifest: DatasetManifest | None = connection.execute(same).scalar()
    return manifest


def split_by(
    as_of: date | None = None,
    validation_days: int | None = None,
    test_days: int | None = None,
    validation_from: date | None = None,
    test_from: date | None = None,
    shares: list[float] | None = None,
) -> JsonObject:
    """Return the values of a SplitConfig: by dates or days if any are given, else by share.

    Raises TailorbirdError if the arguments contradict each other.
    """
    given: JsonObject = {
        "validation_days": validation_days,
        "test_days": test_days,
        "shares": shares,
        "as_of": as_of,
        "validation_from": validation_from,
        "test_from": test_from,
    }
    by: By = "dates" if validation_from or test_from else "days" if validation_days or test_days else "share"
    return SplitConfig(by=by, **{name: value for name, value in given.items() if value is not None}).as_dict()


def later_split() -> tuple[JsonObject, JsonObject]:
    """Return the split and label of the newest data set, moved to the present events; defaults before the first."""
    newest = stored_manifest(current())
    split, label = (newest["split"], newest["label"]) if newest else ({}, {})
    return SplitConfig.from_dict(split).later().as_dict(), label


@task(description="Build features at three moments, with their interactions, as a snapshot in the lake.")
@hold_pseudonym_key
def build_dataset(
    split: JsonObject | None = None,
    label: JsonObject | None = None,
    acceptance: Acceptance = Acceptance(),  # noqa: B008 -- a frozen value
) -> DatasetManifest:
    """Build the data set of the present events, or find an equal one; returns its manifest.

    `split` and `label` are the values of a SplitConfig and a LabelConfig (by default a purchase up to the next cut).
    Raises TailorbirdError before the first ingest, and if there is too little history for the split or the labels.
    Raises BatchRefusedError if a check fails that `acceptance` does not name.
    """
    installation = current()
    check_acceptance(acceptance)
    table = installation.lake.events()
    if table is None:
        raise TailorbirdError(str(situation.step(installation.engine, installation.settings)))
    labels = LabelConfig.from_dict({"kind": columns.PURCHASE} | (label or {}))
    plan = _Plan(table.version(), read_reference_data(installation), SplitConfig.from_dict(split or {}), labels)
    definition = plan.definition()
    existing = _find_defined(installation, definition["definition"])
    if existing:
        return existing
    files = installation.lake.event_files(plan.events_version)
    if not files or not len(plan.known.batches):
        raise TailorbirdError(str(situation.step(installation.engine, installation.settings)))
    with workspace(installation, plan.known, files) as space:
        refunded_at = nw.col(columns.REFUNDED_AT)
        rows = space.events().filter(nw.col(columns.EVENT_TYPE) == columns.PURCHASE)
        bought = rows.filter(refunded_at.is_null())
        if not bought.select(nw.len()).collect("pyarrow").item():
            raise TailorbirdError(
                "Lists learn from purchases, and no event is one. A site without sales names the action that its lists "
                'should lead to in event_types, such as read = "purchase": docs/ingestion.md, “Without sales”. '
                "Next: `tailorbird ingest MAPPING PATH…`."
            )
        newest_refund = rows.select(refunded_at.max()).collect("pyarrow").item()
        moments = time_splits.split(bought, plan.config, newest_refund)
        day = datetime.fromtimestamp(moments.as_of, UTC)
        version = f"v{plan.events_version}-{day:%Y%m%d}-{definition['definition'][:8]}"
        snapshot = _write(installation, space, plan, moments, version)
        stored = {name: stored_rows(installation.lake, version, name) for name in snapshot["rows"]}
        draft = Draft(version, space.connection, stored, plan.known.users, files)
        manifest: DatasetManifest = {
            **definition,
            **snapshot,
            **check_dataset(installation, draft, acceptance),
            "version": version,
            "validation_from": moments.validation_from,
            "test_from": moments.test_from,
            "as_of": moments.as_of,
        }
        return _store(installation, draft, manifest)


def _write(installation: Installation, space: Workspace, plan: _Plan, moments: Cuts, version: str) -> SnapshotRecord:
    """Write every table; returns their record for the manifest."""
    known = plan.known
    tables = parts(space, known, moments, plan.label)
    with progress("features", sum(map(len, tables.values()))) as advance:
        for name in write(installation, space, version, tables):
            advance(note=name)
    stored = {name: stored_rows(installation.lake, version, name) for name in tables}
    return {
        "refunds": space.refunds._asdict(),
        "rows": {name: len(space.connection.sql(f"FROM {rows}")) for name, rows in stored.items()},
        "repeats": _repeats(space, stored["interactions"]),
        "content_hash": {name: content_hash(space.connection, rows, keys_of(name)) for name, rows in stored.items()},
        "hashed_by": ENGINE,
        "traits": trait_pooling.sentences(trait_pooling.fit(known.users)),
    }


def _store(installation: Installation, draft: Draft, manifest: DatasetManifest) -> DatasetManifest:
    """Assign the users to segments, and store the prices paid and the manifest."""
    store_prices_paid(installation, draft.connection, draft.files)
    version, user_features = draft.version, draft.stored["user_features"]
    segment_users(installation, draft.connection, version, user_features, draft.users, manifest["as_of"])
    with installation.engine.begin() as database:
        database.execute(insert(datasets).values(version=version, manifest=manifest).on_conflict_do_nothing())
        for accepted in manifest["accepted"]:
            entry = {
                "action": "accept a failed check",
                "subject": version,
                "actor": accepted["accepted_by"],
                "reason": accepted["reason"],
                "detail": accepted,
            }
            database.execute(insert(audit_log).values(entry))
    return manifest


def _repeats(space: Workspace, rows: str) -> float:
    different = f"SELECT count(*) AS n FROM {rows} GROUP BY {columns.USER_KEY}, {columns.ITEM_ID}"
    share = space.connection.execute(f"SELECT 1 - count(*) / nullif(sum(n), 0) FROM ({different})").fetchall()[0][0]
    return float(share or 0.0)


def segment_users(
    installation: Installation,
    connection: duckdb.DuckDBPyConnection,
    version: str,
    user_features: str,
    traits: pa.Table,
    as_of: int,
) -> None:
    """Fit the segments of a data set on its user features (as SQL) at `as_of`, and store the assignment."""
    chosen = f"SELECT * EXCLUDE (as_of) FROM {user_features} WHERE {columns.AS_OF} = {as_of}"
    features = connection.sql(chosen).to_arrow_table()
    fitted = Segments.fit(features, traits, _SEED)
    tables = {segments: fitted.assign(features, traits), segment_descriptions: fitted.described}
    with installation.engine.begin() as database:
        for table, rows in tables.items():
            database.execute(delete(table).where(table.c.dataset_version == version))
            versioned = rows.append_column("dataset_version", pa.repeat(version, len(rows)))
            copy_table(database, table.name, versioned)


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
            _store_rebuilt(space, f"rebuilt_{name}", table_parts)
            rebuilt[name] = content_hash(space.connection, f"rebuilt_{name}", keys_of(name))
    differs = [name for name, digest in rebuilt.items() if digest != stored[name]]
    return {"version": version, "same": not differs, "differs": differs, "users_left": users_left}


def _store_rebuilt(space: Workspace, name: str, table_parts: Sequence[TablePart]) -> None:
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
    stored = {name: stored_rows(installation.lake, manifest["version"], name) for name in recorded}
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
