"""Limits how often an alert about a lasting state is sent."""

from time import monotonic


class AlertThrottle:
    """The alerts that this process sent. After a restart every alert is sent once more."""

    def __init__(self) -> None:
        self._sent_at: dict[str, float] = {}

    def recently_sent(self, alert: str, seconds: float) -> bool:
        """Return whether the alert was sent within so many seconds."""
        return alert in self._sent_at and monotonic() - self._sent_at[alert] < seconds

    def mark_sent(self, alert: str) -> None:
        """Record that the alert was sent just now."""
        self._sent_at[alert] = monotonic()

    def reset(self, alert: str) -> None:
        """Forget the alert because its state is over; the next occurrence is sent immediately."""
        self._sent_at.pop(alert, None)
