"""A real server process with the fake service: `uvicorn --factory tests.serving.api.serve_fake:app`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from infra.keys.api_keys import ApiKey, all_scopes, hash_of, id_of
from serving.api.gate.workers import share_metrics


def app() -> ASGIApp:
    share_metrics()
    from serving.api.assembly import build_app
    from serving.api.startup.warming import drained
    from tests.serving.api.fakes import FakeAnswers, FakeEvents, state_of

    key = os.environ["FAKE_KEY"]
    known = ApiKey(id_of(key), "load", all_scopes(["admin"]), hash_of(key))
    answers, events = FakeAnswers(seconds=float(os.environ.get("FAKE_SECONDS", "0"))), FakeEvents()
    state = state_of([known], answers, events)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        with drained(state):
            yield
        print(f"began {answers.count} lists and {len(events.messages)} messages", flush=True)

    return build_app(state, lifespan)
