"""Records in Postgres what each training stored in MLflow; artifacts that differ from the record are refused."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pyarrow.parquet as pq
from sqlalchemy import Engine, insert, select

from infra.bundles.arrays import column_with_present_keys
from infra.database.schema.trust_schema import fingerprints, trained_bundles
from infra.installation import Installation
from infra.keys.credentials import PSEUDONYM
from infra.locks import locked
from infra.private_files.folders import sha256
from infra.registry.client import Registry
from infra.registry.registered_bundles import check_listing, check_version
from models.columns import USER_KEY
from models.errors import TailorbirdError
from models.evaluation.metrics.beyond_accuracy import Reranked
from models.evaluation.metrics.mlflow_names import first_figures, grouped
from models.evaluation.offline import Evaluation


@dataclass(frozen=True)
class TrainedBundle:
    """The recorded bundle and figures of one training run."""

    run_id: str
    run_key: str
    kind: str
    dataset_version: str
    digest: str
    """The digest of the bundle's manifest."""
    evaluation_digest: str


def record(engine: Engine, bundle: TrainedBundle) -> None:
    """Record a new training run."""
    with engine.begin() as connection:
        connection.execute(insert(trained_bundles).values(asdict(bundle)))


def recorded(engine: Engine, run_id: str) -> TrainedBundle | None:
    """Return the record of a run; None for runs of older versions and runs that Tailorbird did not start."""
    columns = [trained_bundles.c[field.name] for field in fields(TrainedBundle)]
    with engine.connect() as connection:
        row = connection.execute(select(*columns).where(trained_bundles.c.run_id == run_id)).mappings().first()
    return TrainedBundle(**row) if row else None


def recorded_all(engine: Engine, run_ids: Sequence[str]) -> dict[str, TrainedBundle]:
    """Return the records of these runs; raises TailorbirdError if one has none."""
    bundles = {run_id: recorded(engine, run_id) for run_id in run_ids}
    if missing := [run_id for run_id, bundle in bundles.items() if bundle is None]:
        raise TailorbirdError(
            f"No training here recorded the run {', '.join(missing)} of MLflow, so its figures and files cannot be "
            "trusted: run `tailorbird review` to train it again."
        )
    return {run_id: bundle for run_id, bundle in bundles.items() if bundle is not None}


def trained_kinds(engine: Engine, version: str) -> list[str]:
    """Return the kinds of model that were trained on a data set."""
    kind = trained_bundles.c.kind
    with engine.connect() as connection:
        query = select(kind).where(trained_bundles.c.dataset_version == version).distinct().order_by(kind)
        return [*connection.execute(query).scalars()]


def pseudonym_key_of(engine: Engine, run_id: str) -> str | None:
    """Return the fingerprint of the pseudonym key that was in use when a run was trained; None before the first."""
    key, trained = fingerprints.c, select(trained_bundles.c.trained_at).where(trained_bundles.c.run_id == run_id)
    in_use = (key.kind == PSEUDONYM, ~key.pending, key.since <= trained.scalar_subquery())
    newest = select(key.fingerprint).where(*in_use).order_by(key.generation.desc()).limit(1)
    with engine.connect() as connection:
        fingerprint: str | None = connection.execute(newest).scalar()
    return fingerprint


def register_version(
    installation: Installation, registry: Registry, bundle: TrainedBundle, tags: Mapping[str, str]
) -> int:
    """Register the model that training recorded; returns its version. Raises BundleRefusedError for another model."""
    number = _register_once(installation, registry, bundle.run_id, tags)
    check_version(registry, registry.version(number), bundle.run_id)
    check_listing(registry, bundle.run_id, bundle.digest)
    return number


def _register_once(installation: Installation, registry: Registry, run_id: str, tags: Mapping[str, str]) -> int:
    """Return the registered version of a run's model; concurrent callers get the same version.

    MLflow alone would register a version for each caller, and all but one would never be reviewed.
    """
    with locked(installation.engine, f"register run {run_id}", wait=True):
        return registry.register(run_id, tags)


EVALUATION_PATH: Final = "evaluation"
PER_USER: Final = "per_user.parquet"
SUMMARY: Final = "summary.json"
RERANKED: Final = "reranked.json"
"""The cost of wider exposure; older runs have none."""


class AlteredEvaluationError(TailorbirdError):
    """Figures in MLflow differ from those that training measured."""


def evaluation_digest(folder: Path) -> str:
    """Return one digest (hex) of the files that reviews read."""
    names = [SUMMARY, PER_USER, *([RERANKED] if (folder / RERANKED).exists() else [])]
    return hashlib.sha256("".join(sha256(folder / name) for name in names).encode()).hexdigest()


def evaluations_of(engine: Engine, registry: Registry, trained: Mapping[str, TrainedBundle]) -> dict[str, Evaluation]:
    """Return the evaluations of these trainings under the same names. Raises AlteredEvaluationError."""
    return {
        name: evaluation_of(registry, one.run_id, one.evaluation_digest, pseudonym_key_of(engine, one.run_id))
        for name, one in trained.items()
    }


def evaluation_of(
    registry: Registry, run_id: str, digest: str | None = None, pseudonym_key: str | None = None
) -> Evaluation:
    """Return the evaluation of a training run, from its artifacts, with the present keys of its users.

    `pseudonym_key` is the fingerprint of the key that named them; None is the first key. Raises AlteredEvaluationError
    if the artifacts have another digest than the expected one.
    """
    with TemporaryDirectory() as scratch:
        folder = registry.download(run_id, EVALUATION_PATH, Path(scratch))
        if digest and evaluation_digest(folder) != digest:
            raise AlteredEvaluationError(
                f"The figures of run {run_id} in MLflow are not those that training measured. Restore them, or delete "
                "the run in MLflow and run `tailorbird review`, which trains it again."
            )
        summary = json.loads((folder / SUMMARY).read_text())
        per_user = pq.read_table(folder / PER_USER, memory_map=False)
        return Evaluation(
            column_with_present_keys(per_user, USER_KEY, pseudonym_key),
            summary,
            reranked=_reranked(folder),
        )


def _reranked(folder: Path) -> tuple[Reranked, ...]:
    path = folder / RERANKED
    return tuple(Reranked(**lists) for lists in json.loads(path.read_text())) if path.exists() else ()


def log_figures(registry: Registry, run_id: str, kind: str, version: str, figures: Mapping[str, float]) -> str:
    """Log what people decide on to a run, and all other figures to a new run below it; returns the id of that run."""
    first = first_figures(figures)
    registry.log(run_id, grouped(first))
    further = grouped({name: value for name, value in figures.items() if name not in first})
    tags = {"stage": "figures", "kind": kind, "dataset_version": version}
    return registry.record_child_run(f"{kind}: further figures", run_id, {}, tags, [further])
