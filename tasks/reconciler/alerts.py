"""Alerts about stale lists, queues that are behind, new dead letters, spent quotas of page keys, and late requests."""

from typing import Final

from sqlalchemy import Connection, func, select, text

from infra.configuration.placements import configured
from infra.database.schema.schema import placements
from infra.installation import Installation
from infra.prefect_api import events
from tasks.orchestration.alert_throttle import AlertThrottle

_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
_SILENT_SECONDS: Final = 120
"""Consumers look every few seconds."""
_FORGOTTEN: Final = "7 days"
"""A queue that nobody has consumed for so long is no longer used."""
_OF_LISTS, _OF_STREAMS, _OF_REQUESTS = AlertThrottle(), AlertThrottle(), AlertThrottle()
_QUEUES: Final = f"""
    SELECT queue, lag, extract(epoch FROM now() - seen_at)::float AS silent FROM streams
    WHERE seen_at > now() - interval '{_FORGOTTEN}' ORDER BY queue"""
_LETTERS: Final = """
    SELECT source, count(*) AS number, max(letter_id) AS newest FROM identity.dead_letters
    WHERE replayed_at IS NULL GROUP BY source ORDER BY source"""
_SPENT: Final = """
    SELECT key_id, day, name, calls, bytes / 1e6 AS megabytes FROM key_usage JOIN api_keys USING (key_id)
    WHERE day = (now() AT TIME ZONE 'UTC')::date AND (calls >= :calls OR bytes >= :megabytes * 1e6) ORDER BY key_id"""
_LATE: Final = """
    SELECT request_id, kind, due_at, due_at < now() AS is_late FROM identity.privacy_requests
    WHERE state = 'open' AND due_at < now() + :days * interval '1 day' ORDER BY request_id"""


def alert_stale_lists(installation: Installation, throttle: AlertThrottle = _OF_LISTS) -> str | None:
    """Emit an event, at most once a day, for each placement whose lists were not checked for `fresh_hours`."""
    hours = (func.extract("epoch", func.now() - placements.c.checked_at) / 3600).label("hours")
    with installation.engine.connect() as connection:
        ages = {row.placement: float(row.hours) for row in connection.execute(select(placements.c.placement, hours))}
    problems = {}
    for name, placement in configured(installation.settings).items():
        limit = placement.fresh_hours
        if name in ages and ages[name] > limit:
            age = f"The lists of {name} are {ages[name]:.0f} hours old; {limit:g} are allowed."
            problems[name] = f"{age} Run `tailorbird score {name}`."
        else:
            throttle.reset(name)
    new = _emitted(installation, events.STALE_LISTS, "tailorbird.placement", problems, throttle, _DAY)
    return f"The lists of {', '.join(new)} are stale." if new else None


def alert_streams(installation: Installation, throttle: AlertThrottle = _OF_STREAMS) -> str | None:
    """Emit an event, at most once an hour, for each queue that is behind or silent, and for new dead letters."""
    with installation.engine.connect() as connection:
        problems = {**_of_queues(connection, installation.settings.stream_lag, throttle), **_of_letters(connection)}
    return _sentences(_emitted(installation, events.STREAM, "tailorbird.stream", problems, throttle, _HOUR))


def alert_spent_quotas(installation: Installation, throttle: AlertThrottle = _OF_STREAMS) -> str | None:
    """Emit an event, once a day, for each page key whose daily quota is spent."""
    calls, megabytes = installation.settings.api_page_calls, installation.settings.api_page_mb
    with installation.engine.connect() as connection:
        spent = connection.execute(text(_SPENT), {"calls": calls, "megabytes": megabytes}).all()
    problems = {
        f"{row.key_id}#{row.day}": f"Pages with the key {row.name} have sent {row.calls:,} calls and "
        f"{row.megabytes:,.0f} MB today; {calls:,} and {megabytes:,} are allowed, and new visitors get 429 until "
        "midnight UTC. For more customers raise api_page_calls or api_page_mb, else replace the key: "
        f"`tailorbird keys rotate api {row.key_id}`."
        for row in spent
    }
    return _sentences(_emitted(installation, events.QUOTA, "tailorbird.key", problems, throttle, _DAY))


def alert_late_requests(installation: Installation, throttle: AlertThrottle = _OF_REQUESTS) -> str | None:
    """Emit an event, at most once a day, for each request that is late, or soon is."""
    with installation.engine.connect() as connection:
        rows = connection.execute(text(_LATE), {"days": installation.settings.privacy_alert_days}).all()
    problems = {
        str(row.request_id): f"Request {row.request_id} to {row.kind} {'was' if row.is_late else 'is'} due on "
        f"{row.due_at:%Y-%m-%d}, and waits. `tailorbird privacy continue` carries it out, or names what it waits for."
        for row in rows
    }
    return _sentences(_emitted(installation, events.PRIVACY, "tailorbird.privacy-request", problems, throttle, _DAY))


def _emitted(
    installation: Installation, event: str, kind: str, problems: dict[str, str], throttle: AlertThrottle, seconds: float
) -> dict[str, str]:
    """Emit an event for each problem that was not sent lately, and return these; `#` ends the name of its subject."""
    new = {name: reason for name, reason in problems.items() if not throttle.recently_sent(name, seconds)}
    for name, reason in new.items():
        payload = {"reason": reason, "page": installation.endpoints.deployments_page}
        if events.try_emit(installation.endpoints, event, f"{kind}.{name.split('#')[0]}", payload):
            throttle.mark_sent(name)
    return new


def _sentences(problems: dict[str, str]) -> str | None:
    return " ".join(problems.values()) or None


def _of_queues(connection: Connection, most: int, throttle: AlertThrottle) -> dict[str, str]:
    problems = {}
    for row in connection.execute(text(_QUEUES)):
        if row.silent > _SILENT_SECONDS:
            problems[row.queue] = (
                f"Nobody has consumed the queue {row.queue} for {row.silent / 60:.0f} minutes. "
                "Start `tailorbird consume`."
            )
        elif row.lag > most:
            problems[row.queue] = (
                f"{row.lag:,} messages wait in the queue {row.queue}; {most:,} are allowed. Start another consumer."
            )
        else:
            throttle.reset(row.queue)
    return problems


def _of_letters(connection: Connection) -> dict[str, str]:
    """Return a problem for each source with dead letters; a newer letter makes it another one."""
    return {
        f"{row.source}#{row.newest}": f"{row.number:,} messages of {row.source} could not be stored: see "
        "`tailorbird dead-letters list`."
        for row in connection.execute(text(_LETTERS))
    }
