"""Reads the figures of a training run from MLflow and verifies them against the record in PostgreSQL."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pyarrow.parquet as pq
from sqlalchemy import Engine

from infra.bundles.arrays import column_with_present_keys
from infra.bundles.manifest import sha256
from infra.registry.client import Registry
from models.columns import USER_KEY
from models.errors import TailorbirdError
from models.evaluation.diagnostics.exposure_tradeoff import Reranked
from models.evaluation.offline import Evaluation
from tasks.promotion.recorded_bundles import TrainedBundle, pseudonym_key_of

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
