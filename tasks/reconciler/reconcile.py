"""Polls MLflow and Postgres: applies decisions made in MLflow, and starts the work that killed runs left undone."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Final

from sqlalchemy import exists, select, text

from infra.database.engine import database_now
from infra.database.schema.monitoring_schema import drift_calibrations
from infra.database.schema.serving_schema import event_inbox
from infra.installation import Installation, current
from infra.keys import trust
from infra.keys.identity import forget_without_consent
from infra.outages import explain
from infra.prefect_api import deployments, events
from infra.registry.client import Registry
from infra.supervisor.running_commands import mark_crashed
from models.primitives.escaping import for_terminal
from tasks.ingest.inbox.finish_batch import remove_outdated
from tasks.monitoring.serving_metrics import alert_slow_serving
from tasks.orchestration.alert_throttle import AlertThrottle
from tasks.promotion.champion import current_champion, sync_aliases
from tasks.promotion.mlflow_annotations import annotate_version
from tasks.promotion.review_requests import expire, review_of
from tasks.reconciler.alerts import alert_late_requests, alert_spent_quotas, alert_stale_lists, alert_streams
from tasks.reconciler.check_registered_versions import check_registered_versions
from tasks.reconciler.lost_runs import restart_retrain, start_privacy, start_scoring
from tasks.reconciler.mlflow_requests import apply_mlflow_tags, apply_moved_alias

if TYPE_CHECKING:
    from tasks.ingest.inbox.messages import Dataset

_DAY: Final = 86_400
_DAILY: Final = AlertThrottle()
_LOOK_SECONDS: Final = 7.5
"""Seconds between two looks at MLflow: half of a usual round, so each round has one further look."""
_WAITING: Final = text("""
    SELECT inbox_id, payload ->> 'segment' AS segment FROM event_inbox
    WHERE kind = 'score' AND moved_at IS NULL ORDER BY inbox_id LIMIT 100""")
_DONE: Final = text("UPDATE event_inbox SET moved_at = now(), outcome = 'moved' WHERE inbox_id = :inbox_id")
_GRACE: Final = timedelta(minutes=2)
"""The lists of the new champion are made first."""


def mark_killed_commands(installation: Installation) -> str | None:
    """Mark the runs of killed commands as crashed; return a line for each, or None."""
    return "\n".join(mark_crashed(installation.endpoints, installation.settings.var)) or None


def start_calibration(installation: Installation) -> str | None:
    """Start `monitor` once per promotion if the champion has no calibration; returns a line about it, or None.

    It learns the usual range of each signal from the data so far. If there is too little history, the daily
    run tries again.
    """
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
        known = drift_calibrations.c.promotion_id == (champion["promotion_id"] if champion else 0)
        done = connection.execute(select(drift_calibrations.c.calibration_id).where(known).limit(1)).first()
        now = database_now(connection)
    if champion is None or done is not None or now - champion["promoted_at"] < _GRACE:
        return None
    key = f"calibration of promotion {champion['promotion_id']}"
    if not deployments.start_run(installation.endpoints, "monitor", key, {}):
        return None
    return f"The drift monitor is being calibrated for version {champion['model_version']}."


def announce_segments(installation: Installation) -> str | None:
    """Emit an event for each message that asks for lists of a segment; returns a line about them.

    An automation starts `score` for each. While Prefect is down they wait. After a kill an event may come twice:
    its users are scored once more.
    """
    with installation.engine.connect() as connection:
        waiting = connection.execute(_WAITING).all()
    announced = []
    for row in waiting:
        payload = {"segment": row.segment, "reason": f"A message asks for the lists of the segment {row.segment}."}
        if not events.try_emit(installation.endpoints, events.SEGMENT, f"tailorbird.message.{row.inbox_id}", payload):
            break
        with installation.engine.begin() as connection:
            connection.execute(_DONE, {"inbox_id": row.inbox_id})
        announced.append(row.segment)
    return f"Messages asked for lists of {', '.join(announced)}." if announced else None


_PAUSES: Final["dict[Dataset, float]"] = {"updates": 2.0, "events": 5.0, "calls": 5.0}
"""Seconds between two looks into the inbox."""
_ANY_MESSAGE: Final = select(exists(select(event_inbox.c.inbox_id)))
"""Whether the inbox has a message, moved or not."""


def start_inbox_mover(report: Callable[[str], None], stop: Event | None = None) -> list[Thread]:
    """Start to move updates within seconds, and acts and impressions when they are due.

    The inbox has threads of its own, because a move may wait for a long ingest.
    """
    ended = stop or Event()
    threads = [Thread(target=_run, args=(name, report, ended), name=f"inbox {name}", daemon=True) for name in _PAUSES]
    for thread in threads:
        thread.start()
    return threads


def _run(dataset: "Dataset", report: Callable[[str], None], ended: Event) -> None:
    printed = ""
    while not ended.wait(_PAUSES[dataset]):
        problem = _move(dataset)
        if problem and problem != printed:  # a lasting outage is printed once
            report(f"The {dataset} of the inbox wait: {problem}")
        printed = problem


def _move(dataset: "Dataset") -> str:
    """Move what is due; returns the problem, if there is one."""
    try:
        installation = current()
        with installation.engine.begin() as connection:
            used = connection.execute(_ANY_MESSAGE).scalar_one()
            if not used:
                remove_outdated(connection, installation.settings.retention)
        if used:  # the import takes a second, because it takes Prefect along, and many installations have no message
            from tasks.ingest.inbox.move_inbox import NOW, due_of, move_inbox

            move_inbox(installation, dataset, NOW if dataset == "updates" else due_of(installation))
    except Exception as error:
        return explain(error) or f"{type(error).__name__}: {error}"
    return ""


def watch(every: float, stop: Event | None = None) -> None:
    """Reconcile every so many seconds, or sooner after a change in MLflow, until `stop` or the process's end."""
    installation, printed, ended = current(), "", stop or Event()
    seen: object = None
    start_inbox_mover(_print, ended)
    while not ended.is_set():
        # The keys first: a key may have been rotated since the last round.
        problems = _problems(lambda: trust.check(installation.engine, installation.settings))
        report = "\n".join(problems or _problems(_print_reconciled, *_PERIODIC_STEPS))
        if report and report != printed:  # a lasting outage is printed once
            _print(report)
        printed = report
        seen = _wait(every, seen, ended)


def _wait(seconds: float, seen: object, ended: Event) -> object:
    """Wait so long, or until MLflow's tags or aliases differ from those `seen`; returns the latest ones."""
    until = monotonic() + seconds
    while (left := until - monotonic()) > _LOOK_SECONDS and not ended.wait(_LOOK_SECONDS):
        if (now := _tags_and_aliases()) != seen:
            return now
    ended.wait(left)
    return seen


def _tags_and_aliases() -> object:
    """Return what people set in MLflow; None while it is away, which the next round reports."""
    try:
        registry = Registry(current().endpoints.mlflow_tracking_uri)
        return registry.tags(), registry.aliases()
    except Exception:
        return None


def _print(text: str) -> None:
    """Print for a terminal, or with the time for a log.

    Names and reasons are escaped, because every user of MLflow can set them.
    """
    time = [] if sys.stdout.isatty() else [f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC |"]
    print(*time, for_terminal(text, allowed="\n"), flush=True)


def _problems(*steps: Callable[[], object]) -> list[str]:
    """Run all steps, even after one fails; returns the problems as sentences."""
    problems = []
    for step in steps:
        try:
            step()
        except Exception as error:
            problems.append(explain(error) or f"{type(error).__name__}: {error}")
    return problems


def run_once() -> None:
    """Run one round and print the lines as they come."""
    _print_reconciled()
    for step in _PERIODIC_STEPS:
        step()


def _print_reconciled() -> None:
    for line in reconcile_once():
        _print(line)


def _print_result(step: Callable[[Installation], str | None]) -> None:
    line = step(current())
    if line:
        _print(line)


def delete_unneeded_ids(installation: Installation) -> str | None:
    """Delete the raw ids of users who do not agree, or no longer, once a day."""
    if _DAILY.recently_sent("raw ids", _DAY):
        return None
    with installation.engine.begin() as connection:
        count = forget_without_consent(connection)
    _DAILY.mark_sent("raw ids")
    return f"Deleted the raw ids of {count} users without consent." if count else None


_PERIODIC_STEPS: Final = tuple(
    partial(_print_result, step)
    for step in (
        mark_killed_commands,
        start_scoring,
        start_calibration,
        restart_retrain,
        alert_stale_lists,
        alert_slow_serving,
        alert_streams,
        alert_spent_quotas,
        announce_segments,
        start_privacy,
        alert_late_requests,
        check_registered_versions,
        delete_unneeded_ids,
    )
)
"""The steps of every round after the decisions."""


def reconcile_once() -> list[str]:
    """Reject expired requests, apply decisions made in MLflow, and sync the aliases; returns a line for each change."""
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    lines = [
        *_reject_expired(installation, registry),
        *apply_mlflow_tags(installation, registry),
        *apply_moved_alias(installation, registry),
    ]
    sync_aliases(installation.engine, registry)
    return lines


def _reject_expired(installation: Installation, registry: Registry) -> Iterator[str]:
    with installation.engine.begin() as connection:
        versions = expire(connection)
    for version in versions:
        line = f"Version {version}: nobody decided in time; rejected."
        _alert(installation, registry, version, line)
        annotate_version(registry, review_of(installation, version))
        yield line


def _alert(installation: Installation, registry: Registry, version: int, reason: str) -> None:
    payload = {"reason": f"{reason} `tailorbird review` asks again.", "page": registry.version_page(version)}
    events.try_emit(installation.endpoints, events.EXPIRED_REVIEW, f"tailorbird.model-version.{version}", payload)
