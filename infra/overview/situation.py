"""Reads the state of an installation from Postgres, for `models.monitoring.guidance`."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple, TypedDict, cast

from sqlalchemy import Connection, Engine, RowMapping, func, select, text

from infra.configuration.placements import configured
from infra.configuration.settings import Settings
from infra.database.schema.ledger_schema import COMMITTED, PENDING, UNDO_CHANGES
from infra.database.schema.promotion_rows import Promotion, newest_promotion
from infra.database.schema.schema import DEADLINE, ingest_batches, reviews
from infra.supervisor.running_commands import next_run, under_way
from models.errors import TailorbirdError
from models.evaluation.metrics.ranking import METRIC
from models.gate.results import BETTER, Outcome, stored_outcome
from models.lists.rules.placement_config import PlacementError
from models.monitoring.guidance.next_step import Step, next_step, refusal, wait_for
from models.monitoring.guidance.situation import CutShort, EarlierChampion, LastReview, Situation
from models.primitives.json_types import JsonObject

REFERENCE: Final = ("items", "users")
"""Kinds of batches without events."""
_DATASET: Final = text("""
    SELECT version, created_at, extract(epoch FROM now() - created_at) / 86400 AS days
    FROM datasets ORDER BY created_at DESC LIMIT 1
""")
_TRAINED: Final = text("SELECT count(DISTINCT kind) FROM trained_bundles WHERE dataset_version = :version")
_SEARCHED: Final = text("SELECT EXISTS (SELECT FROM search_results WHERE dataset_version = :version)")
_INTERACTIONS: Final = """
    SELECT entry.batch_id, entry.started_at, entry.finished_at,
        greatest(entry.accepted - entry.deleted - coalesce(shown.rows, 0), 0) AS rows
    FROM ingest_batches AS entry LEFT JOIN (
        SELECT batch_id, sum((profile->>'impressions')::bigint) AS rows FROM ingest_chunks GROUP BY batch_id
    ) AS shown USING (batch_id)
    WHERE entry.status = 'committed' AND entry.dataset <> ALL(:reference)
"""
_EVENTS: Final = text(f"SELECT coalesce(sum(rows), 0) FROM ({_INTERACTIONS})")
_NEWER: Final = text(f"""
    SELECT coalesce(sum(least(entry.rows, coalesce(replayed.rows, entry.rows))), 0)
    FROM ({_INTERACTIONS}) AS entry LEFT JOIN (
        SELECT batch_id, count(*) AS rows FROM quarantine WHERE outcome = 'replayed' AND replayed_at > :built_at
        GROUP BY batch_id
    ) AS replayed ON replayed.batch_id = entry.batch_id AND entry.started_at < :built_at
    WHERE entry.finished_at > :built_at
""")
_NEWEST_VERSION: Final = text("""
    SELECT promotion_id, model_version, dataset_version, overridden
    FROM promotions WHERE restored_promotion_id IS NULL ORDER BY promotion_id DESC LIMIT 1
""")
_HOLDING_UNDONE: Final = text("""
    SELECT made.version, array_agg(DISTINCT entry.batch_id ORDER BY entry.batch_id)
    FROM ingest_batches AS entry
    JOIN audit_log AS log ON log.subject = entry.batch_id AND log.action = 'undo'
        AND NOT log.detail @> CAST(:unchanged AS jsonb)
    JOIN datasets AS made
        ON made.created_at BETWEEN coalesce((log.detail ->> 'applied_at')::timestamptz, entry.started_at) AND log.at
    WHERE entry.status IN ('undoing', 'undone') GROUP BY made.version
""")
_BEFORE: Final = text("""
    SELECT before.* FROM (SELECT * FROM promotions ORDER BY promotion_id DESC LIMIT 1) AS champion
    JOIN promotions AS root ON root.promotion_id = coalesce(champion.restored_promotion_id, champion.promotion_id)
    JOIN promotions AS before ON before.promotion_id = root.previous_promotion_id
""")
_LISTS: Final = text("""
    SELECT live.placement, batch.model_version, live.moved_by, live.published_at,
        extract(epoch FROM now() - live.checked_at) / 3600 AS hours
    FROM placements AS live JOIN recommendation_batches AS batch USING (batch_id)
""")


class _PlacementLists(TypedDict, total=False):
    """The fields of `Situation` about placements; empty without a champion or readable placements."""

    placements: tuple[str, ...]
    without_lists: tuple[str, ...]
    stale: tuple[str, ...]
    rolled_back: tuple[str, ...]


def read(engine: Engine, settings: Settings) -> Situation:
    """Return the situation. If the placements cannot be read from their file, they count as fresh."""
    with engine.connect() as connection:
        batches, events = _ingested(connection)
        dataset = connection.execute(_DATASET).first()
        version = str(dataset.version) if dataset else None
        champion = newest_promotion(connection)
        undone = _undone_batches(connection)
        lists = _lists(connection, settings, champion) if champion else _PlacementLists()
        superseded = _superseded_by_rollback(connection, champion, undone) if champion else None
        return Situation(
            cut_short=cut_short(unfinished(connection)),
            batches=batches,
            events=events,
            dataset=version,
            new_events=_newer(connection, dataset.created_at) if dataset else 0,
            trained=int(connection.execute(_TRAINED, {"version": version}).scalar_one()),
            searched=bool(connection.execute(_SEARCHED, {"version": version}).scalar_one()),
            review=_review(connection),
            champion=champion["model_version"] if champion else None,
            champion_dataset=champion["dataset_version"] if champion else None,
            undone_in_dataset=undone.get(str(version), ()),
            undone_in_champion=undone.get(champion["dataset_version"], ()) if champion else (),
            earlier=_earlier(connection, champion, undone) if champion else None,
            rolled_back_version=superseded["model_version"] if superseded else None,
            rolled_back_overridden=superseded["overridden"] if superseded else False,
            **lists,
            review_mode=settings.review,
            dataset_days=float(dataset.days) if dataset else 0,
            retrain_after_share=settings.retrain_after_share,
            retrain_after_days=settings.retrain_after_days,
        )


def step(engine: Engine, settings: Settings) -> Step:
    """Return the situation and the next command, or to wait if work on it is under way."""
    now = read(engine, settings)
    if now.new_events and not now.retrain_due:
        now = replace(now, next_retrain=next_run("retrain", settings))
    return wait_for(next_step(now), under_way(settings))


def why_not(command: str, engine: Engine, settings: Settings) -> str | None:
    """Return why a command cannot run yet, with the next command; None if it can."""
    return str(step(engine, settings)) if refusal(command, read(engine, settings)) else None


class NoChampionError(TailorbirdError):
    """There is no champion."""


def require_champion(engine: Engine, settings: Settings) -> Promotion:
    """Return the newest promotion. Raises NoChampionError with the next command before the first one."""
    with engine.connect() as connection:
        newest = newest_promotion(connection)
    if newest is None:
        raise NoChampionError(str(step(engine, settings)))
    return newest


def earlier_champion(connection: Connection) -> Promotion | None:
    """Return the promotion before the present champion's; None if it is the first. Rollbacks are no promotions."""
    row = connection.execute(_BEFORE).mappings().first()
    return cast(Promotion, dict(row)) if row else None


def _undone_batches(connection: Connection) -> dict[str, tuple[str, ...]]:
    """Return the undone batches that each data set still contains, by data set."""
    built = connection.execute(_HOLDING_UNDONE, {"unchanged": json.dumps(dict.fromkeys(UNDO_CHANGES, 0))}).tuples()
    return {version: tuple(batches) for version, batches in built}


def _ingested(connection: Connection) -> tuple[int, int]:
    """Return the number of committed batches and of their accepted events, without impressions."""
    batches = select(func.count()).where(ingest_batches.c.status == COMMITTED)
    events = connection.execute(_EVENTS, {"reference": list(REFERENCE)}).scalar_one()
    return connection.execute(batches).scalar_one(), int(events)


def _newer(connection: Connection, built_at: datetime) -> int:
    """Return the number of interactions since a data set was built, including those from quarantine."""
    return int(connection.execute(_NEWER, {"built_at": built_at, "reference": list(REFERENCE)}).scalar_one())


def _earlier(connection: Connection, champion: Promotion, undone: Collection[str]) -> EarlierChampion | None:
    """Return the champion that a rollback would restore, if its data set contains no undone batch.

    Its score beside the champion's comes from the champion's review if the two were measured on other test weeks.
    """
    before = earlier_champion(connection)
    if before is None or before["dataset_version"] in undone:
        return None
    champion_score, earlier_score = champion["metrics"].get(METRIC), before["metrics"].get(METRIC)
    if before["dataset_version"] != champion["dataset_version"]:
        gain = next((check["value"] for check in champion["gate"] if check["name"] == BETTER), None)
        earlier_score = None if champion_score is None or gain is None else champion_score - gain
    return EarlierChampion(before["model_version"], before["kind"], earlier_score, champion_score)


def _review(connection: Connection) -> LastReview | None:
    newest = select(reviews).order_by(reviews.c.requested_at.desc(), reviews.c.review_id.desc()).limit(1)
    row = connection.execute(newest).mappings().first()
    if row is None:
        return None
    return LastReview(
        version=row["model_version"],
        dataset=row["dataset_version"],
        passed=row["passed"],
        failed=tuple(check["name"] for check in row["gate"] if stored_outcome(check) is Outcome.REFUSED),
        decision=row["decision"],
        reviewer=row["reviewer"] or "",
        expired=row["via"] == DEADLINE,
    )


def _superseded_by_rollback(connection: Connection, champion: Promotion, undone: Collection[str]) -> RowMapping | None:
    """Return the newest promotion if a rollback replaced it and its data set has no undone batch."""
    newest = connection.execute(_NEWEST_VERSION).mappings().first()
    earlier = champion["restored_promotion_id"] or champion["promotion_id"]
    superseded = newest is not None and newest["promotion_id"] > earlier and newest["dataset_version"] not in undone
    return newest if newest and superseded else None


def _lists(connection: Connection, settings: Settings, champion: Promotion) -> _PlacementLists:
    """Return the names of all placements, of those without lists, with stale lists, and with lists rolled back."""
    try:
        placements = configured(settings)
    except PlacementError:
        return _PlacementLists()
    live = {row["placement"]: row for row in connection.execute(_LISTS).mappings()}
    stale = tuple(
        name
        for name, placement in placements.items()
        if name in live and (_of_another(live[name], champion) or float(live[name]["hours"]) > placement.fresh_hours)
    )
    return _PlacementLists(
        placements=tuple(placements),
        without_lists=tuple(name for name in placements if name not in live),
        stale=stale,
        rolled_back=tuple(name for name in placements if name in live and live[name]["moved_by"]),
    )


def _of_another(row: RowMapping, champion: Promotion) -> bool:
    """Return whether another version made the lists and nobody rolled them back since the champion's promotion."""
    rolled_back = row["moved_by"] is not None and row["published_at"] >= champion["promoted_at"]
    return bool(row["model_version"] != champion["model_version"]) and not rolled_back


_UNFINISHED: Final = text("""
    SELECT batch_id, dataset, source, location, request, status, EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND (classid::bigint << 32 | objid::bigint) = hashtextextended(batch_id, 0)
    ) AS active
    FROM ingest_batches WHERE status IN ('pending', 'undoing') ORDER BY started_at, location, batch_id
""")
"""An ingest and an undo hold the lock of their batch; a killed process loses it."""


@dataclass(frozen=True)
class UnfinishedBatch:
    """A batch whose ingest or undo is running or was interrupted."""

    batch_id: str
    dataset: str
    source: str
    location: str
    request: JsonObject
    """The parameters of its ingest."""
    status: str
    active: bool
    """Whether a process works on it now."""


def unfinished(connection: Connection) -> list[UnfinishedBatch]:
    """Return the batches whose ingest or undo is not finished; those that are not `active` were interrupted."""
    return [UnfinishedBatch(**row) for row in connection.execute(_UNFINISHED).mappings()]


def cut_short(batches: Iterable[UnfinishedBatch]) -> tuple[CutShort, ...]:
    """Return the interrupted ingests among unfinished batches, grouped by their source and parameters."""
    files: dict[_Ingest, list[str]] = {}
    for batch in batches:
        if batch.status == PENDING and not batch.active:
            overrides = batch.request.get("overrides") or {}
            mapping = batch.request.get("mapping", batch.source)
            sql = batch.request.get("sql") or {}
            options = tuple(sorted((sql.get("options") or {}).items()))
            key = _Ingest(batch.source, mapping, tuple(sorted(overrides.items())), sql.get("url", ""), options)
            files.setdefault(key, []).append(batch.location)
    return tuple(
        CutShort(ingest.source, ingest.mapping, tuple(places), dict(ingest.overrides), ingest.url, dict(ingest.options))
        for ingest, places in files.items()
    )


class _Ingest(NamedTuple):
    """The source and the parameters of an ingest."""

    source: str
    mapping: str
    overrides: tuple[tuple[str, str], ...]
    url: str
    """The address of a database; empty for files."""
    options: tuple[tuple[str, str], ...]
