"""Serves `POST /v1/track` with one INSERT and one commit per request, as the plain way of a collector."""

import os
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_INSERT = """
    INSERT INTO event_inbox (source, message_id, kind, key_version, payload) VALUES ('plain', $1, 'call', 1, $2)
    ON CONFLICT DO NOTHING"""
ADDRESS = "ONE_INSERT_DATABASE"
"""The variable with the address of the database."""


@asynccontextmanager
async def _opened(app: Starlette) -> Any:
    app.state.pool = await asyncpg.create_pool(os.environ[ADDRESS], min_size=4, max_size=16)
    yield
    await app.state.pool.close()


async def _track(request: Request) -> Response:
    call = orjson.loads(await request.body())
    await request.app.state.pool.execute(_INSERT, call["messageId"], orjson.dumps(call).decode())
    return Response(b'{"success":true}')


async def _ready(_: Request) -> Response:
    return Response(b"ok")


app = Starlette(routes=[Route("/v1/track", _track, methods=["POST"]), Route("/livez", _ready)], lifespan=_opened)
