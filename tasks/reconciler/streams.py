"""Alerts about queues that are behind or that nobody consumes, and about new dead letters."""

from typing import Final

from sqlalchemy import Connection, text

from infra.installation import Installation
from infra.prefect_api import events
from infra.services import prefect_pages
from tasks.orchestration.alert_throttle import AlertThrottle

_HOUR: Final = 3600
_SILENT_SECONDS: Final = 120
"""Consumers look every few seconds."""
_FORGOTTEN: Final = "7 days"
"""A queue that nobody has consumed for so long is no longer used."""
_THROTTLE: Final = AlertThrottle()
_QUEUES: Final = f"""
    SELECT queue, lag, extract(epoch FROM now() - seen_at)::float AS silent FROM streams
    WHERE seen_at > now() - interval '{_FORGOTTEN}' ORDER BY queue"""
_LETTERS: Final = """
    SELECT source, count(*) AS number, max(letter_id) AS newest FROM identity.dead_letters
    WHERE replayed_at IS NULL GROUP BY source ORDER BY source"""


def alert_streams(installation: Installation, throttle: AlertThrottle = _THROTTLE) -> str | None:
    """Emit an event, at most once an hour, for each queue that is behind or silent, and for new dead letters."""
    with installation.engine.connect() as connection:
        problems = {**_of_queues(connection, installation.settings.stream_lag, throttle), **_of_letters(connection)}
    new = {name: reason for name, reason in problems.items() if not throttle.recently_sent(name, _HOUR)}
    for name, reason in new.items():
        payload = {"reason": reason, "page": prefect_pages.deployments(installation.endpoints)}
        if events.try_emit(installation.endpoints, events.STREAM, f"tailorbird.stream.{name.split('#')[0]}", payload):
            throttle.mark_sent(name)
    return " ".join(new.values()) or None


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
