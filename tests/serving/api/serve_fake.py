"""A real server process with the fake service: `uvicorn --factory tests.serving.api.serve_fake:app`."""

import os

from starlette.types import ASGIApp

from infra.keys.api_keys import ApiKey, all_scopes, hash_of, id_of
from serving.api.gate.workers import share_metrics


def app() -> ASGIApp:
    share_metrics()
    from serving.api.assembly import build_app
    from tests.serving.api.fakes import state_of

    key = os.environ["FAKE_KEY"]
    return build_app(state_of([ApiKey(id_of(key), "load", all_scopes(["admin"]), hash_of(key))]))
