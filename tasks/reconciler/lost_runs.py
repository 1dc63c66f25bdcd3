"""Starts `score`, `retrain` and `privacy` if their runs are missing or lost.

That is if the lists of a new champion are not made, nobody works on a retrain request, or requests of people wait.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Final

from sqlalchemy import Connection, RowMapping, func, select, text

from infra.configuration import placements
from infra.database.schema.privacy_schema import EXPORT
from infra.database.schema.schema import promotions
from infra.installation import Installation
from infra.locks import is_locked, running_work
from infra.prefect_api import events, flow_runs
from infra.prefect_api.flow_runs import MOST, Attempt, start_next_run
from models.primitives.json_types import JsonObject
from tasks.monitoring.retraining.requests import Request, abandoned_request, give_up
from tasks.orchestration.alert_throttle import AlertThrottle
from tasks.promotion.champion import Champion, current_champion
from tasks.scoring import batch_state

_GRACE: Final = 30
"""Seconds after a promotion, in which a person may run `tailorbird score`."""
ATTEMPTS: Final = 3
"""Attempts at a request, and runs that are started per attempt, before the request is given up."""
_EVENT_SECONDS: Final = 20
"""Seconds for the event of a request to start a run, which takes about ten."""
_IDLE_SECONDS: Final = 30
_DAY: Final = 86_400
_NEWEST: Final = text("""
    WITH made AS (
        SELECT DISTINCT ON (placement) placement, batch_id, status, detail
        FROM recommendation_batches WHERE model_version = :version AND created_at >= :since
        ORDER BY placement, batch_id DESC
    )
    SELECT names.placement, live.batch_id AS live_batch, live.model_version AS live_version,
        placements.moved_by IS NOT NULL AND placements.published_at >= :since AS rolled_back,
        made.batch_id AS newest_batch, made.status, made.detail
    FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS names (placement, position)
    LEFT JOIN placements ON placements.placement = names.placement
    LEFT JOIN recommendation_batches AS live ON live.batch_id = placements.batch_id
    LEFT JOIN made ON made.placement = names.placement
    ORDER BY names.position
""")
_BY_COMMAND: Final = "30 seconds"
"""The command that makes a request of people carries it out itself in this time."""
_WAITING: Final = text(f"""
    SELECT max(request_id) AS newest, bool_or(kind = '{EXPORT}') AS for_copies, current_date AS day
    FROM identity.privacy_requests WHERE state = 'open' AND asked_at < now() - interval '{_BY_COMMAND}'""")


@dataclass(frozen=True)
class MissingLists:
    """The placements that need a run of `score`."""

    placements: list[str]
    unfinished: int | None
    """The newest batch that a run began and no run finished; None if there is none."""


def find_missing_lists(
    connection: Connection, names: Iterable[str], version: int, promoted_at: datetime
) -> MissingLists | None:
    """Return the placements among `names` that lack lists of the champion `version`, or None if none does.

    A placement also counts if a run began a newer batch of the champion and did not finish it. Lists that a person
    rolled back since the promotion, batches that the checks refused, and batches that a person stopped do not count.
    """
    values = {"version": version, "since": promoted_at, "names": list(names)}
    rows = connection.execute(_NEWEST, values).mappings().all()
    missing = [row for row in rows if _is_missing(row, version)]
    unfinished = [row["newest_batch"] for row in missing if _is_unfinished(row)]
    placements = [row["placement"] for row in missing]
    return MissingLists(placements, max(unfinished, default=None)) if placements else None


def _is_missing(row: RowMapping, version: int) -> bool:
    if row["rolled_back"] or row["status"] == "refused":
        return False
    return row["live_version"] != version or _is_unfinished(row)


def _is_unfinished(row: RowMapping) -> bool:
    newer = row["newest_batch"] is not None and row["newest_batch"] > (row["live_batch"] or 0)
    return newer and row["status"] in ("loading", "checked", "attached") and row["detail"] is None


@dataclass
class IdleRuns:
    """Measures how long a run of `score` works on no placement. A live run works on one nearly all the time."""

    seconds: float = _IDLE_SECONDS
    since: dict[str, float] = field(default_factory=dict)

    def is_lost(self, run_id: str) -> bool:
        """Return whether the run has been idle at every round for so many seconds."""
        first = self.since.get(run_id, monotonic())
        self.since = {run_id: first}
        return monotonic() - first >= self.seconds


_IDLE: Final = IdleRuns()
_ALERTED: Final = AlertThrottle()


def start_scoring(installation: Installation, idle: IdleRuns = _IDLE, alerted: AlertThrottle = _ALERTED) -> str | None:
    """Start `score` if placements lack the champion's lists; returns a line about it, or None if nothing is due.

    A run whose process is gone is marked as crashed first, because a run in the state `Running` blocks the next one. A
    run that a person cancelled since the promotion is not started again. After a few lost runs an alert is sent.
    """
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
        if champion is None or _seconds_since_promotion(connection, champion) < _GRACE:
            return None
        configured = placements.configured(installation.settings)
        missing = find_missing_lists(connection, configured, champion["model_version"], champion["promoted_at"])
    # Another run makes lists already: the next round sees what is missing then.
    if missing is None or any(is_locked(installation.engine, batch_state.lock_name(name)) for name in configured):
        idle.since.clear()
        return None
    return _start(installation, champion, missing, idle, alerted)


def _seconds_since_promotion(connection: Connection, champion: Champion) -> float:
    """Return the promotion's age by the database's clock, which also wrote it."""
    age = func.extract("epoch", func.clock_timestamp() - promotions.c.promoted_at)
    row = promotions.c.promotion_id == champion["promotion_id"]
    return float(connection.execute(select(age).where(row)).scalar_one())


def _start(
    installation: Installation, champion: Champion, missing: MissingLists, idle: IdleRuns, alerted: AlertThrottle
) -> str | None:
    last = flow_runs.latest_run(installation.endpoints, "score")
    state, version = flow_runs.state_of(last), champion["model_version"]
    if last and state == flow_runs.RUNNING:
        if not idle.is_lost(last.id):
            return None
        flow_runs.mark_crashed(installation.endpoints, last.id, "Its process is gone: it works on no placement.")
    if last and last.started and state in flow_runs.CANCELLED and last.started >= champion["promoted_at"]:
        return None
    names = ", ".join(missing.placements)
    cause = f"lists of promotion {champion['promotion_id']} for {names}"
    if missing.unfinished is not None:
        cause += f", batch {missing.unfinished}"
    attempt = start_next_run(installation.endpoints, "score", cause, {"placements": missing.placements})
    if attempt is Attempt.STARTED:
        return f"Lists of version {version} are being made for {names}."
    if attempt is Attempt.EXHAUSTED and not alerted.recently_sent(cause, _DAY):
        alerted.mark_sent(cause)
        return _alert(
            installation, missing, f"{MOST} runs were started for lists of version {version}, and none finished"
        )
    return None


def _alert(installation: Installation, missing: MissingLists, problem: str) -> str:
    names = " ".join(missing.placements)
    reason = f"{problem}. Look at the runs' pages, then run `tailorbird score {names}`."
    page = installation.endpoints.runs_page
    for name in missing.placements:
        resource = f"tailorbird.placement.{name}"
        events.try_emit(installation.endpoints, events.STALE_LISTS, resource, {"reason": reason, "page": page})
    return reason


def restart_retrain(installation: Installation) -> str | None:
    """Start `retrain` for a request without a live run; returns a line about it, or None if nothing was due.

    A surplus run ends immediately, because only one run can claim the request. The run after a lost one gets the same
    parameters. A run that a person cancelled is not started again.
    """
    with installation.engine.connect() as connection:
        request = abandoned_request(connection, _EVENT_SECONDS)
    if request is None:
        return None
    last = flow_runs.find_run(installation.endpoints, request.flow_run) if request.flow_run else None
    if flow_runs.state_of(last) in flow_runs.CANCELLED:
        return _close(installation, request, "a person cancelled its run", alert=False)
    if request.fence >= ATTEMPTS:
        return _close(installation, request, f"given up after {ATTEMPTS} attempts: each of its runs was lost")
    return _start_retrain(installation, request, last.parameters if last else {})


def _start_retrain(installation: Installation, request: Request, parameters: JsonObject) -> str | None:
    """Start one more run, unless one is under way."""
    cause = f"retrain request {request.request_id}, attempt {request.fence + 1}"
    next_parameters = {**parameters, "request": request.request_id}
    attempt = start_next_run(installation.endpoints, "retrain", cause, next_parameters)
    if attempt is Attempt.STARTED:
        return f"Retrain request {request.request_id}: a run was started."
    if attempt is Attempt.CANCELLED:
        return _close(installation, request, "a person cancelled its run", alert=False)
    if attempt is Attempt.EXHAUSTED:
        return _close(installation, request, f"given up: {MOST} runs ended before they began to work on it")
    return None


def _close(installation: Installation, request: Request, outcome: str, alert: bool = True) -> str | None:
    with installation.engine.begin() as connection:
        if not give_up(connection, request, outcome):
            return None  # a run has claimed it just now
    if alert:
        reason = f"Retrain request {request.request_id} ({request.origin}: {request.reason}) was {outcome}."
        page = (
            installation.endpoints.flow_run_page(request.flow_run)
            if request.flow_run
            else installation.endpoints.runs_page
        )
        payload = {"request": request.request_id, "reason": reason, "page": page}
        events.try_emit(installation.endpoints, events.GIVEN_UP, events.request_resource(request.request_id), payload)
    return f"Retrain request {request.request_id} is over: {outcome}."


def start_privacy(installation: Installation) -> str | None:
    """Start `privacy` if requests wait, once no work blocks erasures; returns a line about it, or None."""
    with installation.engine.connect() as connection:
        waiting = connection.execute(_WAITING).one()
    if waiting.newest is None or (running_work(installation.engine) and not waiting.for_copies):
        return None
    cause = f"privacy request {waiting.newest} on {waiting.day}"
    if start_next_run(installation.endpoints, "privacy", cause, {}) is not Attempt.STARTED:
        return None
    return f"Requests of people up to number {waiting.newest} are being carried out."
