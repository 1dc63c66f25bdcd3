"""Reads the state of the installation: sums of the ledger, what waits, champion, challenger, live lists and drift."""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, RowMapping, func, select, text

from infra.database.schema.ledger_schema import COMMITTED
from infra.database.schema.offers import unconfirmed
from infra.database.schema.promotion_rows import newest_promotion
from infra.database.schema.schema import LEDGER, ingest_batches, quarantine, reviews
from infra.overview.situation import unfinished
from models.ingest.check.file_names import file_name
from models.primitives.json_types import JsonObject
from serving.queries.freshness import users_with_consent

_COUNTS: Final = """
    SELECT coalesce(sum(messages) FILTER (WHERE moved_at IS NULL), 0) AS waiting,
        coalesce(sum(messages) FILTER (WHERE outcome = 'refused'), 0) AS refused,
        extract(epoch FROM now() - min(received_at) FILTER (WHERE moved_at IS NULL))::float AS oldest_seconds
    FROM event_inbox WHERE (moved_at IS NULL OR outcome = 'refused') AND kind <> 'score'"""
_REQUESTS: Final = """
    SELECT count(*) AS open, count(*) FILTER (WHERE due_at < now()) AS late
    FROM identity.privacy_requests WHERE state = 'open'"""
_SMALLEST: Final = 2**20
_TABLES: Final = """
    SELECT coalesce(whole.relname, stored.relname) AS name, sum(pg_total_relation_size(stored.oid))::bigint AS bytes
    FROM pg_class AS stored LEFT JOIN pg_inherits ON inhrelid = stored.oid LEFT JOIN pg_class AS whole
        ON whole.oid = inhparent
    WHERE stored.relkind = 'r' AND stored.relnamespace::regnamespace::text <> ALL ('{pg_catalog,information_schema}')
    GROUP BY 1"""
_LISTS: Final = """
    SELECT live.placement, live.batch_id, batch.subject_kind, batch.model_version, batch.users AS lists,
        batch.recommendations, live.published_at, live.checked_at, live.moved_by,
        extract(epoch FROM now() - live.checked_at) / 3600 AS hours
    FROM placements AS live JOIN recommendation_batches AS batch USING (batch_id) ORDER BY live.placement
"""
_BATCH: Final = """
    SELECT batch_id AS id, batch.model_version, batch.users, batch.recommendations, batch.published_at
    FROM recommendation_batches AS batch JOIN placements AS live USING (batch_id) WHERE live.placement = :placement
"""
_CALIBRATION: Final = """
    SELECT calibration_id, model_version, window_days, windows, reference_from, reference_to, made_by, reason,
        (calibration ->> 'limit')::float AS joint_threshold, (calibration ->> 'between')::float AS windows_between,
        (calibration ->> 'false_alarms')::float AS false_alarm_rate
    FROM drift_calibrations ORDER BY calibration_id DESC LIMIT 1
"""
_REPORTS: Final = """
    SELECT report_id, model_version, window_from, window_to, verdict, joint, joint_threshold, drivers, signals, feed,
        decision, reasons, request_id, page
    FROM drift_reports ORDER BY window_to DESC, report_id DESC LIMIT :limit
"""


def inbox_state(connection: Connection) -> JsonObject:
    """Return the messages of applications that are in no batch yet, with the age of the oldest.

    Those of refused batches stay in the inbox. Requests for lists of segments never are in one.
    """
    return dict(connection.execute(text(_COUNTS)).mappings().one())


def status(engine: Engine, placement: str = "home") -> JsonObject:
    """Read the state of the installation. Parts that do not exist yet are None, and times are ISO texts."""
    with engine.connect() as connection:
        return {
            "ledger": _ledger(connection),
            "waiting": _waiting(connection),
            "unconfirmed": connection.execute(select(func.count()).where(unconfirmed())).scalar_one(),
            "unfinished": _unfinished(connection),
            "inbox": inbox_state(connection),
            "privacy": dict(connection.execute(text(_REQUESTS)).mappings().one()),
            "champion": _champion(connection),
            "challenger": _challenger(connection),
            "batch": _batch(connection, placement),
            "placements": live_lists(connection),
        }


def sizes(connection: Connection, var: Path) -> dict[str, int]:
    """Return the bytes of folders of `var` and of tables of our own database, the largest first, from 1 MiB on.

    `var/postgres` has all databases, also those of Prefect and MLflow. A lake in an object store is not counted.
    """
    found: Counter[str] = Counter()
    for name, size in connection.execute(text(_TABLES)).tuples():
        found[f"table {name}"] += size
    for path, _, names in os.walk(var, followlinks=True):  # as root, PostgreSQL keeps its data elsewhere
        folder = Path(path)
        top = folder.relative_to(var).parts[:1]
        for name in names:
            with suppress(OSError):  # it ends meanwhile
                found["/".join(("var", *top))] += (folder / name).lstat().st_size
    return {name: size for name, size in found.most_common() if size >= _SMALLEST}


def live_lists(connection: Connection, *, counts_users: bool = True) -> list[JsonObject]:
    """Return the live lists of each placement.

    Without `counts_users`, users are counted only if the state of a placement that a person rolled back needs it.
    """
    rows = [dict(row) for row in connection.execute(text(_LISTS)).mappings()]
    needed = any(counts_users or row["moved_by"] for row in rows)
    users = users_with_consent(connection) if needed else None
    for row in rows:
        row |= {name: row[name].isoformat() for name in ("published_at", "checked_at")}
        row["hours"] = round(float(row["hours"]), 2)
        row["users"] = users if row["subject_kind"] == "user" else None
    return rows


def _ledger(connection: Connection) -> dict[str, int]:
    sums = (func.coalesce(func.sum(ingest_batches.c[name]), 0).label(name) for name in LEDGER)
    row = connection.execute(select(*sums).where(ingest_batches.c.status == COMMITTED)).mappings().one()
    return {name: int(row[name]) for name in LEDGER}


def _waiting(connection: Connection) -> int:
    """Return the number of rows that wait in quarantine now."""
    count = select(func.count(quarantine.c.row_number)).where(quarantine.c.replayed_at.is_(None))
    return int(connection.execute(count).scalar_one())


def _unfinished(connection: Connection) -> list[JsonObject]:
    """Return batches whose ingest or undo is not finished; one without `active` was interrupted."""
    shown = ("batch_id", "dataset", "source", "status", "active")
    return [
        {name: getattr(batch, name) for name in shown} | {"file": file_name(batch.location)}
        for batch in unfinished(connection)
    ]


def _champion(connection: Connection) -> JsonObject | None:
    row = newest_promotion(connection)
    return None if row is None else {"name": row["kind"], "version": row["model_version"], "metrics": row["metrics"]}


def _challenger(connection: Connection) -> JsonObject | None:
    """Return the newest version that passed the gate and waits for a decision."""
    waiting = select(reviews).where(reviews.c.passed, reviews.c.decision.is_(None))
    row = connection.execute(waiting.order_by(reviews.c.review_id.desc()).limit(1)).mappings().first()
    if row is None:
        return None
    moments = {name: row[name].isoformat() for name in ("requested_at", "expires_at") if row[name]}
    return {"version": row["model_version"], **moments}


def _batch(connection: Connection, placement: str) -> JsonObject | None:
    row = connection.execute(text(_BATCH), {"placement": placement}).mappings().first()
    return dict(row) | {"published_at": row["published_at"].isoformat()} if row else None


def drift(engine: Engine, limit: int = 10) -> JsonObject:
    """Return the newest calibration as `usual`, None before the first one, and the latest `windows` first."""
    with engine.connect() as connection:
        calibration = connection.execute(text(_CALIBRATION)).mappings().first()
        rows = connection.execute(text(_REPORTS), {"limit": limit}).mappings().all()
    return {"usual": calibration and _plain(calibration), "windows": [*map(_plain, rows)]}


def _plain(row: RowMapping) -> JsonObject:
    """Return a row with its times as ISO texts."""
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
