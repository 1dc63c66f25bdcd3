"""Stores and reads the best settings of searches, by model and data set."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, cast

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.promotion_rows import SearchResult
from infra.database.schema.schema import datasets, search_results
from infra.installation import Installation, current
from models import catalog
from models.monitoring.drift.dataset_distance import shift
from models.primitives.json_types import JsonObject
from models.ranking.candidate_generation import SETTINGS
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.tuning.study_config import same_shape
from tasks.datasets.load_dataset import manifest_of, open_dataset, stored_manifest


class ModelSearch(SearchResult):
    """The result of a search with its trials, as commands and pages show it."""

    page: str
    best: JsonObject
    skipped: list[str]
    """Plots for which no time was left."""
    storing: float
    """Seconds that storing the result took."""
    defaults: float | None
    """NDCG@10 of the default settings."""
    tried: list[JsonObject]


def find_search_result(installation: Installation, version: str, kind: str) -> SearchResult | None:
    """Return the result of the search of this model on this data set, or None if there was none."""
    same = (search_results.c.dataset_version == version, search_results.c.model == kind)
    with installation.engine.connect() as connection:
        row = connection.execute(select(search_results).where(*same)).mappings().first()
    return cast(SearchResult, dict(row)) if row else None


def find_settings(installation: Installation, version: str, kind: str) -> SearchResult | None:
    """Return the search result on this data set, or else the newest one on another of the same shape."""
    return find_search_result(installation, version, kind) or find_other_search_result(installation, version, kind)


def find_other_search_result(installation: Installation, version: str, kind: str) -> SearchResult | None:
    """Return the newest search result of this model on another data set of the same shape."""
    others = (search_results.c.model == kind, search_results.c.dataset_version != version)
    joined = select(search_results, datasets.c.manifest).join(
        datasets, datasets.c.version == search_results.c.dataset_version
    )
    with installation.engine.connect() as connection:
        newest = joined.where(*others).order_by(search_results.c.finished_at.desc())
        rows = connection.execute(newest).mappings().all()
    manifest: Mapping[str, Any] = manifest_of(installation, version) if rows else {}
    names = [column.name for column in search_results.c]
    similar = (row for row in rows if same_shape(row["manifest"], manifest))
    return next((cast(SearchResult, {name: row[name] for name in names}) for row in similar), None)


def with_sources(installation: Installation, version: str, kind: str, settings: JsonObject) -> JsonObject:
    """Return the settings of a model, with those that searches found for its retrievers, or else their defaults.

    Retrievers name new items, so theirs are those that ranked such items best; `own_frequency` names the user's own.
    """
    own = asdict(catalog.config(kind, settings))
    kinds = [one for one in own.get("retrievers", ()) if one not in SETTINGS]
    sources = {one: _source_settings(installation, version, one) for one in kinds}
    return settings | {"sources": sources} if "sources" in own else settings


def _source_settings(installation: Installation, version: str, kind: str) -> JsonObject:
    found = None if kind == OwnFrequency.kind else find_settings(installation, version, kind)
    if found:
        from tasks.tuning.study import settings_for_new_items  # it imports Optuna, which a run without searches spares

        if best := settings_for_new_items(installation, found["study"]):
            return asdict(catalog.config(kind, best))
    return settings_of(installation, version, kind)[0]


def default_settings(installation: Installation, version: str, kind: str) -> JsonObject:
    """Return the settings of a model that nobody searched on this data set."""
    manifest = stored_manifest(installation, version)
    return asdict(catalog.defaults(kind, manifest.get("repeats", 1.0) if manifest else 1.0))


def settings_of(installation: Installation, version: str, kind: str) -> tuple[JsonObject, str]:
    """Return the best settings of a search on a similar data set and its run, or the defaults and no run."""
    result = find_settings(installation, version, kind)
    settings = default_settings(installation, version, kind) if result is None else result["config"]
    return with_sources(installation, version, kind, settings), "" if result is None else str(result["run_id"])


def unsearched(version: str, kinds: Iterable[str]) -> str:
    """Return a sentence on the models whose settings are defaults, and the command that tries others."""
    installation = current()
    searchable = [kind for kind in kinds if catalog.model_type(kind).space]
    names = [kind for kind in searchable if find_settings(installation, version, kind) is None]
    if not names:
        return "All settings come from searches."
    repeats = manifest_of(installation, version).get("repeats")
    shop = "" if repeats is None else f", those for a shop with {repeats:.0%} repeat purchases"
    options = " ".join(f"--model {name}" for name in names)
    return f"Default settings{shop}: {', '.join(names)}. Others are tried by: tailorbird search {options}"


def search_outcomes(version: str, kinds: Iterable[str]) -> dict[str, str]:
    """Return a sentence for each model: the search result on this data set, or the settings that training uses."""
    return {kind: _outcome(current(), version, kind) for kind in kinds}


def _outcome(installation: Installation, version: str, kind: str) -> str:
    result = find_search_result(installation, version, kind)
    if result:
        return f"It tried {result['trials']} settings, and the best has NDCG@10 {result['ndcg_10']:.4f}."
    source = "those of an earlier search" if find_other_search_result(installation, version, kind) else "its defaults"
    return f"It found no settings; the model is trained with {source}."


def user_shift(one: str, other: str) -> float:
    """Return how far users have moved from one data set to another."""
    tables = [(dataset := open_dataset(version)).features(dataset.cuts.as_of).users for version in (one, other)]
    return shift(*tables)


def store(installation: Installation, row: SearchResult) -> None:
    """Store a search result in place of the last one on the same data set."""
    entry = insert(search_results).values(row)
    with installation.engine.begin() as connection:
        replaced = {**row, "finished_at": func.now()}
        connection.execute(entry.on_conflict_do_update(index_elements=["dataset_version", "model"], set_=replaced))
