"""The server of an installation that waits longer for its stores: machines of tests are busy."""

from functools import partial
from typing import Final

from starlette.types import ASGIApp

from serving.api.gate.workers import share_metrics

SECONDS: Final = 1.0


def app() -> ASGIApp:
    share_metrics()
    from serving.api.startup import installation
    from serving.stores.stores import Stores

    installation.Stores = partial(Stores, request_seconds=SECONDS, redis_seconds=SECONDS)  # type: ignore[misc, assignment]
    return installation.of_installation()
