"""Puts the settings of the edge together, before the parts of a server are opened."""

from infra.configuration.placements import configured
from infra.configuration.settings import Settings
from infra.keys.api_keys import ApiKey
from serving.api.gate.keys.keyring import Keyring
from serving.api.gate.request_log import RequestLog
from serving.api.requests.ids import Pseudonyms
from serving.api.state import State


def state_of(settings: Settings, pseudonyms: Pseudonyms, own: ApiKey) -> State:
    """Return the state of a server before its parts are opened; `own` is a key that no database records."""
    return State(
        Keyring(None, settings.api_requests_per_second / settings.api_workers, [own]),
        pseudonyms,
        configured(settings),
        RequestLog(settings.api_log),
        frozenset(origin.strip().encode() for origin in settings.api_origins.split(",") if origin.strip()),
        settings.api_concurrency,
        tuple(name.strip() for name in settings.user_traits.split(",") if name.strip()),
    )
