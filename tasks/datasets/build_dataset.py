"""Builds data sets: what models learn from, at three moments, as snapshots in the lake."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import narwhals as nw
from prefect import task
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.ledger_schema import audit_log
from infra.database.schema.schema import datasets
from infra.installation import Installation, current
from infra.overview import situation
from models import columns
from models.datasets import time_splits
from models.datasets.acceptance import Acceptance
from models.datasets.labels import LabelConfig
from models.datasets.time_splits import By, Cuts, SplitConfig
from models.errors import TailorbirdError
from models.features.segments import trait_pooling
from models.features.tables.registry import TABLES
from tasks.datasets.check_dataset import Draft, check_acceptance, check_dataset
from tasks.datasets.content_hash import ENGINE, content_hash
from tasks.datasets.event_workspace import Workspace, workspace
from tasks.datasets.load_dataset import Manifest, stored_manifest
from tasks.datasets.snapshot_tables import keys_of, parts, stored_rows, write
from tasks.datasets.user_segments import segment_users
from tasks.lake.reference_data import ReferenceData, read_reference_data
from tasks.orchestration.progress import progress
from tasks.orchestration.pseudonym_key_guard import hold_pseudonym_key

FORMAT: Final = 6


class NoEventsError(TailorbirdError):
    """There is nothing in the lake to build a data set from."""


@dataclass(frozen=True)
class _Plan:
    """What a data set is made of. The same plan on the same batches has the same name."""

    events_version: int
    known: ReferenceData
    config: SplitConfig
    label: LabelConfig

    def manifest(self) -> Manifest:
        """The definition: the version of the events alone is not enough, since a batch may be closed, a catalogue come
        in, or somebody withdraw consent without a new one."""
        known = self.known
        digests = {
            "batches": _digest(known.batches["batch_id"].to_pylist()),
            "users": _digest(known.users[columns.USER_KEY].to_pylist()),
            "aliases": _digest([f"{row['device']} {row['known']}" for row in known.aliases.to_pylist()]),
        }
        names = {name: [feature.name for feature in table.features] for name, table in TABLES.items()}
        said = {"format": FORMAT, "events_version": self.events_version, "split": self.config.as_dict()}
        said["label"] = self.label.as_dict()
        definition = said | {"features": names, **digests}
        return definition | {"definition": _digest([json.dumps(definition, sort_keys=True)])}


def _digest(names: list[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _defined(installation: Installation, definition: str) -> Manifest | None:
    """The data set of the same definition, if there is one."""
    same = select(datasets.c.manifest).where(datasets.c.manifest["definition"].astext == definition)
    with installation.engine.connect() as connection:
        manifest: Manifest | None = connection.execute(same).scalar()
    return manifest


def split_by(
    as_of: date | None = None,
    validation_days: int | None = None,
    test_days: int | None = None,
    validation_from: date | None = None,
    test_from: date | None = None,
    shares: list[float] | None = None,
) -> dict[str, Any]:
    """What was said of how to split, as the values of a SplitConfig: by dates or days if any are given, else by share.

    Raises SplitError when it contradicts itself.
    """
    said: dict[str, Any] = {"validation_days": validation_days, "test_days": test_days, "shares": shares}
    said |= {"as_of": as_of, "validation_from": validation_from, "test_from": test_from}
    by: By = "dates" if validation_from or test_from else "days" if validation_days or test_days else "share"
    return SplitConfig(by=by, **{name: value for name, value in said.items() if value is not None}).as_dict()


def later_split() -> tuple[dict[str, Any], dict[str, Any]]:
    """The split and the label of the newest data set, for the events there are now; the defaults before the first."""
    newest = stored_manifest(current()) or {"split": {}, "label": {}}
    return SplitConfig.from_dict(newest["split"]).later().as_dict(), newest["label"]


@task(description="Features at three moments, and the interactions they come from, as a snapshot in the lake.")
@hold_pseudonym_key
def build_dataset(
    split: dict[str, Any] | None = None,
    label: dict[str, Any] | None = None,
    acceptance: Acceptance = Acceptance(),  # noqa: B008 -- a frozen value
) -> Manifest:
    """Build the data set of the events that the lake holds now, or find the one that is there; returns its manifest.

    `split` and `label` are the values of a SplitConfig and a LabelConfig (by default a purchase up to the next cut).
    Raises NoEventsError before the first ingest, SplitError when there is too little history, LabelError when there
    is too little for the labels' horizon, BatchRefusedError when the data set fails checks that `acceptance` does not
    name.
    """
    installation = current()
    check_acceptance(acceptance)
    table = installation.lake.events()
    if table is None:
        raise NoEventsError(str(situation.step(installation.engine, installation.settings)))
    labels = LabelConfig.from_dict({"kind": columns.PURCHASE} | (label or {}))
    plan = _Plan(table.version(), read_reference_data(installation), SplitConfig.from_dict(split or {}), labels)
    manifest = plan.manifest()
    stored = _defined(installation, manifest["definition"])
    if stored:
        return stored
    files = installation.lake.event_files(plan.events_version)
    if not files or not len(plan.known.batches):
        raise NoEventsError(str(situation.step(installation.engine, installation.settings)))
    with workspace(installation, plan.known, files) as space:
        refunded_at = nw.col(columns.REFUNDED_AT)
        rows = space.events().filter(nw.col(columns.EVENT_TYPE) == columns.PURCHASE)
        bought = rows.filter(refunded_at.is_null())
        if not bought.select(nw.len()).collect("pyarrow").item():
            raise NoEventsError(
                "The events hold no purchases to learn from. Next: `tailorbird ingest MAPPING PATH…` with a mapping "
                "whose event_type names purchases."
            )
        newest = rows.select(refunded_at.max()).collect("pyarrow").item()
        moments = time_splits.split(bought, plan.config, newest)
        day = datetime.fromtimestamp(moments.as_of, UTC)
        version = f"v{plan.events_version}-{day:%Y%m%d}-{manifest['definition'][:8]}"
        manifest |= {"version": version, **moments.as_dict()}
        manifest |= _write(installation, space, plan, moments, version)
        stored = {name: stored_rows(installation, version, name) for name in manifest["rows"]}
        draft = Draft(version, space.connection, stored, plan.known.users, files)
        return _enter(installation, draft, manifest | check_dataset(installation, draft, acceptance))


def _write(installation: Installation, space: Workspace, plan: _Plan, moments: Cuts, version: str) -> Manifest:
    """Write every table; returns what the manifest records of them."""
    known = plan.known
    tables = parts(space, known, moments, plan.label)
    with progress("features", sum(map(len, tables.values()))) as advance:
        for name in write(installation, space, version, tables):
            advance(note=name)
    stored = {name: stored_rows(installation, version, name) for name in tables}
    return {
        "refunds": space.refunds._asdict(),
        "rows": {name: _count(space, rows) for name, rows in stored.items()},
        "content_hash": {name: content_hash(space.connection, rows, keys_of(name)) for name, rows in stored.items()},
        "hashed_by": ENGINE,
        "traits": trait_pooling.sentences(trait_pooling.fit(known.users)),
    }


def _enter(installation: Installation, draft: Draft, manifest: Manifest) -> Manifest:
    """Put the users into segments, and enter the data set."""
    version, user_features = draft.version, draft.stored["user_features"]
    segment_users(installation, draft.connection, version, user_features, draft.users, manifest["as_of"])
    with installation.engine.begin() as database:
        database.execute(insert(datasets).values(version=version, manifest=manifest).on_conflict_do_nothing())
        for accepted in manifest["accepted"]:
            who, why = accepted["accepted_by"], accepted["reason"]
            entry = {"action": "accept a failed check", "subject": version, "actor": who, "reason": why}
            database.execute(insert(audit_log).values(**entry, detail=accepted))
    return manifest


def _count(space: Workspace, rows: str) -> int:
    return int(space.connection.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0])
