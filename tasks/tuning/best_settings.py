"""The best settings that searches found, by model and data set."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.schema import datasets, search_results
from infra.installation import Installation, current
from models.monitoring.drift.dataset_distance import shift
from models.tuning.study_config import same_shape
from tasks.datasets.load_dataset import manifest_of, open_dataset

Result = dict[str, Any]
_KEYS: Final = ["dataset_version", "model"]


def find_search_result(installation: Installation, version: str, kind: str) -> Result | None:
    """What the search of this model on this data set found, or None when there was none."""
    mine = (search_results.c.dataset_version == version, search_results.c.model == kind)
    with installation.engine.connect() as connection:
        row = connection.execute(select(search_results).where(*mine)).mappings().first()
    return dict(row) if row else None


def find_settings(installation: Installation, version: str, kind: str) -> Result | None:
    """What the search on this data set found; or else the newest one on another of the same shape."""
    return find_search_result(installation, version, kind) or find_other_search_result(installation, version, kind)


def find_other_search_result(installation: Installation, version: str, kind: str) -> Result | None:
    """What the newest search of this model on another data set of the same shape found."""
    others = (search_results.c.model == kind, search_results.c.dataset_version != version)
    joined = select(search_results, datasets.c.manifest).join(
        datasets, datasets.c.version == search_results.c.dataset_version
    )
    with installation.engine.connect() as connection:
        newest = joined.where(*others).order_by(search_results.c.finished_at.desc())
        rows = connection.execute(newest).mappings().all()
    manifest = manifest_of(installation, version) if rows else {}
    near = (row for row in rows if same_shape(row["manifest"], manifest))
    return next(({name: row[name] for name in search_results.c.keys()} for row in near), None)  # noqa: SIM118


def search_outcomes(version: str, kinds: Iterable[str]) -> dict[str, str]:
    """Return for each model what a search on this data set found, and else which settings training uses."""
    return {kind: _outcome(current(), version, kind) for kind in kinds}


def _outcome(installation: Installation, version: str, kind: str) -> str:
    found = find_search_result(installation, version, kind)
    if found:
        return f"It tried {found['trials']} settings, and the best has NDCG@10 {found['ndcg_10']:.4f}."
    used = "those of an earlier search" if find_other_search_result(installation, version, kind) else "its defaults"
    return f"It found no settings; the model is trained with {used}."


def moved(one: str, other: str) -> float:
    """How far users have moved from one data set to another."""
    tables = [(dataset := open_dataset(version)).features(dataset.cuts.as_of).users for version in (one, other)]
    return shift(*tables)


def store(installation: Installation, row: Result) -> None:
    """Keep what a search found, in place of what the last one on the same data set did."""
    entry = insert(search_results).values(row)
    with installation.engine.begin() as connection:
        anew = {**row, "finished_at": func.now()}
        connection.execute(entry.on_conflict_do_update(index_elements=_KEYS, set_=anew))
