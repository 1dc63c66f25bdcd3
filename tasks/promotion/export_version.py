"""Exports a reviewed version to a folder: its run, its review and the data set that it learned from, signed as a whole.

Another installation imports it (`tasks/promotion/import_version.py`). The files name users by their pseudonyms.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import BigInteger, Connection, Row, Table, select

from infra.bundles.manifest import verify
from infra.database.schema.schema import datasets, promotions, segment_descriptions, segments
from infra.installation import Installation
from infra.keys import credentials, trust
from infra.keys.credentials import INSTALLATION, PSEUDONYM, present_fingerprint
from infra.private_files.folders import sha256, staged
from infra.registry.client import MODEL_PATH, Registry
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.promotion.recorded_bundles import EVALUATION_PATH, TrainedBundle, evaluation_digest, recorded_all
from tasks.promotion.review_requests import review_of

FORMAT: Final = 1
EXPORT, SIGNATURE = "export.json", "export.sig"
RUN, DATASET, SEGMENTS = "run", "dataset", "segments"
"""The folders of an export: all artifacts of the run, the tables of the data set, the segments of its users."""
SEGMENT_TABLES: Final = (segments, segment_descriptions)


@dataclass(frozen=True)
class ExportedVersion:
    """What an export states of a version beside its files."""

    format: int
    installation: str
    version: int
    pseudonym_key: str | None
    """The fingerprint of the key that made the user keys."""
    trained: TrainedBundle
    name: str
    """The name of the run, its settings and its figures."""
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    description: str
    passed: bool
    """The verdict of the gate, its checks, and its results by group, as `reviews` has them."""
    gate: list[JsonObject]
    groups: list[JsonObject]
    champion: str | None
    """The digest of the bundle that the gate compared with; None for the first version."""
    manifest: Any
    """The manifest of the data set."""
    dataset_created_at: str
    files: Mapping[str, str] = field(default_factory=dict)
    """The sha256 of each file by its path in the folder."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read an export. Raises KeyError or TypeError if it is none."""
        return cls(**{**content, "trained": TrainedBundle(**content["trained"])})

    @property
    def dataset_version(self) -> str:
        """Return the version of the data set."""
        return self.trained.dataset_version


@hold_pseudonym_key
def export_version(installation: Installation, registry: Registry, version: int, to: Path) -> JsonObject:
    """Write a reviewed version to a new folder; returns what was exported.

    Raises TailorbirdError for a version without a review or a training here, BundleRefusedError for altered files, and
    for a folder that exists.
    """
    if to.exists() or to.is_symlink():
        raise TailorbirdError(f"{to} exists. Name a new folder.")
    to.parent.mkdir(parents=True, exist_ok=True)
    with staged(to.parent) as draft:
        stated = _write(installation, registry, version, draft)
        content = json.dumps(stated, indent=1, sort_keys=True, default=str).encode()
        (draft / EXPORT).write_bytes(content)
        (draft / SIGNATURE).write_bytes(credentials.sign(installation.settings, content))
        draft.replace(to)
    size = sum(file.stat().st_size for file in to.rglob("*") if file.is_file())
    return {"version": version, "kind": stated["trained"]["kind"], "folder": str(to), "bytes": size}


def _write(installation: Installation, registry: Registry, version: int, folder: Path) -> JsonObject:
    review = review_of(installation, version)
    trained = recorded_all(installation.engine, [str(review["run_id"])])[str(review["run_id"])]
    registry.download(trained.run_id, "", folder / RUN)
    verify(folder / RUN / MODEL_PATH, review["digest"])
    if evaluation_digest(folder / RUN / EVALUATION_PATH) != trained.evaluation_digest:
        raise TailorbirdError(f"The figures of version {version} in MLflow are not those that training measured.")
    run, champion = registry.run(trained.run_id), promotions.c.promotion_id == review["reference_promotion_id"]
    with installation.engine.connect() as connection:
        dataset = stored_dataset(connection, trained.dataset_version)
        assert dataset is not None  # data sets are never deleted
        (folder / SEGMENTS).mkdir()
        for table in SEGMENT_TABLES:
            pq.write_table(_rows(connection, table, trained.dataset_version), folder / SEGMENTS / table.name)
        compared = connection.execute(select(promotions.c.digest).where(champion)).scalar()
        own = trust.newest(trust.rows(connection))[INSTALLATION].fingerprint
    (folder / DATASET).mkdir()
    for name in dataset.manifest["rows"]:
        rows = installation.lake.dataset_table(trained.dataset_version, name).to_pyarrow_dataset().scanner().to_reader()
        with pq.ParquetWriter(folder / DATASET / name, rows.schema) as file:
            for batch in rows:
                file.write_batch(batch)
    files = {str(file.relative_to(folder)): sha256(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    key = present_fingerprint(installation.settings, PSEUDONYM)
    description = registry.version(version).description
    return asdict(
        ExportedVersion(
            format=FORMAT,
            installation=own,
            version=version,
            pseudonym_key=key,
            trained=trained,
            name=run.name,
            parameters=run.parameters,
            metrics=run.metrics,
            description=description,
            passed=review["passed"],
            gate=[dict(check) for check in review["gate"]],
            groups=[dict(group) for group in review["groups"]],
            champion=compared,
            manifest=dataset.manifest,
            dataset_created_at=dataset.created_at.isoformat(),
            files=files,
        )
    )


def stored_dataset(connection: Connection, version: str) -> Row[Any] | None:
    """Return the row of a data set; None for one that is not here."""
    return connection.execute(select(datasets).where(datasets.c.version == version)).first()


def _rows(connection: Connection, table: Table, version: str) -> pa.Table:
    query = select(table).where(table.c.dataset_version == version)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    kinds = [(column.name, pa.int64() if isinstance(column.type, BigInteger) else pa.string()) for column in table.c]
    return pa.Table.from_pylist(rows, pa.schema(kinds))
