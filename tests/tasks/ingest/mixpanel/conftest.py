"""Mixpanel's API, for the client of this process."""

from collections.abc import Iterator

import pytest

from tasks.ingest.mixpanel import client
from tests.mixpanel_server import MixpanelServer


@pytest.fixture
def mixpanel(monkeypatch: pytest.MonkeyPatch) -> Iterator[MixpanelServer]:
    with MixpanelServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        pauses: list[float] = []
        monkeypatch.setattr(client, "_LIMIT", client.RateLimit(sleep=pauses.append, clock=lambda: sum(pauses)))
        yield server
