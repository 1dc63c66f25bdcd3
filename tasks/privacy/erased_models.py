"""Deletes users from what training and reviews stored: figures by user, reports, and models that learned from them."""

import re
import shutil
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, ScalarSelect, func, select, text, update

from infra.bundles.arrays import column_with_present_keys
from infra.bundles.bundle_store import forget
from infra.database.schema.privacy_schema import DONE, ERASE, privacy_requests
from infra.database.schema.schema import datasets, users
from infra.database.schema.trust_schema import trained_bundles
from infra.installation import Installation
from infra.registry.client import Registry
from infra.registry.connection import RunGoneError
from models.columns import USER_KEY
from models.errors import TailorbirdError
from tasks.monitoring.retraining.requests import request_retraining
from tasks.promotion.champion import current_champion
from tasks.promotion.recorded_bundles import EVALUATION_PATH, PER_USER, evaluation_digest, pseudonym_key_of
from tasks.review.review_models import FOLDER, REPORT

_EXAMPLE: Final = r"<h3>(?:{}) <small>.*?(?=<h3>|<h2>)"
"""One person of a report: the heading has the first digits of the key."""
_COPIES: Final = ("serving/champion", "verified")
"""Folders in `var` with copies of bundles, each under its digest."""
_OLD: Final = """
    SELECT run_id, digest FROM trained_bundles JOIN datasets ON version = dataset_version
    WHERE forgotten_at IS NULL AND run_id <> :champion AND datasets.created_at <= (
        SELECT max(erased_at) FROM users WHERE erased_at < (
            SELECT created_at FROM datasets WHERE version = :dataset_version))"""


class Forgotten(NamedTuple):
    """What became of the models that learned from erased users."""

    models: int
    """Models that were deleted."""
    retraining: str
    """The reason of a retraining that was requested; empty if none was."""


def erase_figures(engine: Engine, registry: Registry, keys: pa.Array) -> Counter[str]:
    """Delete the users' rows of the figures of all training runs, and their examples of reports, in MLflow.

    Raises TailorbirdError while MLflow does not answer.
    """
    removed: Counter[str] = Counter()
    with engine.connect() as connection:
        known = select(trained_bundles.c.run_id, trained_bundles.c.evaluation_digest)
        runs = dict(connection.execute(known).tuples().all())
    if runs and not registry.is_available:
        raise TailorbirdError(
            "MLflow does not answer, and its figures name users: start it, and run the command again."
        )
    for run_id, digest in runs.items():
        with suppress(RunGoneError):
            removed += _erase_run(engine, registry, run_id, digest, keys)
    return removed


def _erase_run(engine: Engine, registry: Registry, run_id: str, digest: str, keys: pa.Array) -> Counter[str]:
    """Delete the users of one run: first the examples, which are found by the keys of the figures."""
    with TemporaryDirectory() as scratch:
        if PER_USER not in registry.files(run_id, EVALUATION_PATH):
            return Counter({"examples of reports": _erase_examples(registry, run_id, keys)})
        path = registry.download(run_id, f"{EVALUATION_PATH}/{PER_USER}", Path(scratch))
        rows = pq.read_table(path, memory_map=False)
        present = column_with_present_keys(rows, USER_KEY, pseudonym_key_of(engine, run_id))
        gone = pc.is_in(present[USER_KEY], value_set=keys)
        named = pa.concat_arrays([keys, rows[USER_KEY].filter(gone).combine_chunks().cast(keys.type)])
        removed = Counter({"examples of reports": _erase_examples(registry, run_id, named)})
        if removed_rows := pc.sum(gone).as_py():
            folder = registry.download(run_id, EVALUATION_PATH, Path(scratch) / "all")
            _replace_figures(engine, registry, run_id, digest, folder, rows.filter(pc.invert(gone)))
            removed["figures in MLflow"] = removed_rows
        return removed


def _replace_figures(
    engine: Engine, registry: Registry, run_id: str, digest: str, folder: Path, rows: pa.Table
) -> None:
    """Record the digest of the new figures, if the old ones had theirs, then upload these.

    After a stop between both, the same call uploads the same file.
    """
    was_sound = evaluation_digest(folder) == digest
    pq.write_table(rows, folder / PER_USER)
    if was_sound:
        changed = update(trained_bundles).where(trained_bundles.c.run_id == run_id)
        with engine.begin() as connection:
            connection.execute(changed.values(evaluation_digest=evaluation_digest(folder)))
    registry.log_file(run_id, folder / PER_USER, EVALUATION_PATH)


def _erase_examples(registry: Registry, run_id: str, keys: pa.Array) -> int:
    """Delete the users from the report of a run; returns how many it showed."""
    if REPORT not in registry.files(run_id, FOLDER):
        return 0
    with TemporaryDirectory() as scratch:
        path = registry.download(run_id, f"{FOLDER}/{REPORT}", Path(scratch))
        shown = "|".join(key[:8] for key in keys.to_pylist())
        page, total = re.subn(_EXAMPLE.format(shown), "", path.read_text("utf-8"), flags=re.DOTALL)
        if total:
            path.write_text(page, "utf-8")
            registry.log_file(run_id, path, FOLDER)
    return total


def forget_models(installation: Installation, registry: Registry) -> Forgotten:
    """Delete the models that learned from erased users once the champion did not, or request its retraining when due.

    Deleted are their versions and models in MLflow, and their bundles and copies in `var`: nobody can roll back to
    them. While MLflow does not answer, nothing is deleted.
    """
    engine = installation.engine
    with engine.begin() as connection:
        champion = current_champion(connection)
        if champion is None:
            return Forgotten(0, "")
        names = {"champion": champion["run_id"] or "", "dataset_version": champion["dataset_version"]}
        old = connection.execute(text(_OLD), names).tuples().all()
        reason = _retrain_when_due(connection, installation, names["dataset_version"])
    if not registry.is_available:
        return Forgotten(0, reason)
    for run_id, digest in old:
        forget(installation.settings, digest)
        for name in _COPIES:
            shutil.rmtree(installation.settings.var / name / digest, ignore_errors=True)
        registry.forget_model(run_id, f"{EVALUATION_PATH}/{PER_USER}")
        done = update(trained_bundles).where(trained_bundles.c.run_id == run_id).values(forgotten_at=func.now())
        with engine.begin() as connection:
            connection.execute(done)
    with engine.begin() as connection:
        asked, built = privacy_requests.c, _built(names["dataset_version"])
        waits = asked.kind == ERASE, asked.state == DONE, asked.forgotten_at.is_(None), asked.done_at < built
        connection.execute(update(privacy_requests).where(*waits).values(forgotten_at=func.now()))
    return Forgotten(len(old), reason)


def _retrain_when_due(connection: Connection, installation: Installation, dataset_version: str) -> str:
    """Request a retraining if the champion has learned from users who were erased too long ago; return the reason."""
    limit = timedelta(days=installation.settings.retrain_after_erasure_days)
    first = select(func.min(users.c.erased_at)).where(users.c.erased_at >= _built(dataset_version))
    since = connection.execute(first).scalar()
    if since is None or connection.execute(select(func.now() - limit)).scalar_one() < since:
        return ""
    reason = f"The champion learned from users who were erased on {since:%Y-%m-%d}."
    return reason if request_retraining(connection, "erasure", reason) else ""


def _built(dataset_version: str) -> ScalarSelect[datetime]:
    return select(datasets.c.created_at).where(datasets.c.version == dataset_version).scalar_subquery()
