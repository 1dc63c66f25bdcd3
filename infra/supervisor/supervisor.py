"""Starts services again that ended without `down`. `up` starts this process, which watches all others."""

import time
from datetime import UTC, datetime
from typing import Final

from infra.configuration.settings import Settings, load
from infra.outages import explain
from infra.prefect_api import events
from infra.services import state_file
from infra.services.endpoints import endpoints
from infra.services.state_file import Reporter
from infra.supervisor import commands
from infra.supervisor.launcher import TITLES
from models.errors import TailorbirdError

_EVERY: Final = 2.0
_PAUSE, _LONGEST_PAUSE = 10.0, 300.0
"""Seconds between the first two starts of a service, and at most; each pause is twice the one before."""
_CALM: Final = 900.0
"""Seconds after a start in which a service does not end, so that its next end counts as the first."""
_ALERT_AFTER: Final = 3


class Supervisor:
    """Watches the services of one installation, by the settings of the `up` that started it."""

    def __init__(self, settings: Settings, report: Reporter) -> None:
        self._settings, self._report = settings, report
        self._starts: dict[str, list[float]] = {}
        self._alerts: dict[str, str] = {}

    def look(self, now: float) -> None:
        """Start what has ended, unless it was started a moment ago, and send the alerts that wait. Raises nothing."""
        for name in state_file.gone(self._settings.var):
            starts = self._starts.setdefault(name, [])
            if starts and now - starts[-1] > _CALM:
                starts.clear()
            if starts and now - starts[-1] < min(_PAUSE * 2 ** (len(starts) - 1), _LONGEST_PAUSE):
                continue
            starts.append(now)
            self._start(name)
            if len(starts) == _ALERT_AFTER:
                self._alerts[name] = (
                    f"{TITLES[name]} ended {_ALERT_AFTER} times within {now - starts[0]:.0f} seconds. It is "
                    f"started again, after growing pauses. See {commands.log(self._settings, name)}."
                )
        if self._alerts:
            self._send()

    def _start(self, name: str) -> None:
        from infra.supervisor import startup  # takes 80 MB, which are seldom needed

        try:
            startup.restart(self._settings, name, self._report)
        except Exception as error:  # another attempt may succeed, and the others are watched meanwhile
            self._report(f"{TITLES[name]} did not start: {explain(error) or f'{type(error).__name__}: {error}'}")

    def _send(self) -> None:
        """Send the alerts that wait; without Prefect, which may be the service that ended, they wait."""
        try:
            now = endpoints(self._settings)
        except TailorbirdError:  # such as while PostgreSQL is down
            return
        page = now.deployments_page
        for name, reason in list(self._alerts.items()):
            payload = {"reason": reason, "page": page}
            if events.try_emit(now, events.SERVICE, f"tailorbird.service.{name}", payload):
                del self._alerts[name]


def _print(line: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC | {line}", flush=True)


def main() -> None:
    """Watch until `down` ends this process. A signal ends it at any moment: `up` and `down` find what it started."""
    supervisor = Supervisor(load(), _print)
    while True:
        supervisor.look(time.monotonic())
        time.sleep(_EVERY)


if __name__ == "__main__":
    main()
