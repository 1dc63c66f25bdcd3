"""A client of the application, in this process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from serving.api.assembly import build_app
from serving.api.state import State
from tests.serving.api.fakes import FakeAnswers, FakeEvents, new_key, state_of


@dataclass
class Shop:
    """The application with its fakes, and a client with the key of an administrator."""

    client: httpx.AsyncClient
    state: State
    answers: FakeAnswers
    events: FakeEvents
    keys: dict[str, str]

    def headers(self, scope: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[scope]}"}


@pytest.fixture
async def shop(anyio_backend: str) -> AsyncIterator[Shop]:  # noqa: ARG001 -- runs in its loop
    made = {name: new_key(name) for name in ("read", "write", "admin")}
    answers, events = FakeAnswers(), FakeEvents()
    state = state_of([key for _, key in made.values()], answers, events)
    keys = {name: text for name, (text, _) in made.items()}
    transport = httpx.ASGITransport(build_app(state), raise_app_exceptions=True)
    headers = {"authorization": f"Bearer {keys['admin']}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://shop", headers=headers) as client:
        yield Shop(client, state, answers, events, keys)
