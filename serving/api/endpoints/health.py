"""Endpoints of health and metrics."""

import asyncio

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from serving.api.gate.routes import OPEN, add_hot_route
from serving.api.state import Call, Reply
from serving.http import metrics

router = APIRouter(tags=["health"])
_EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"
_UNAVAILABLE = 503


class Health(BaseModel):
    """Whether the process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: str


class Readiness(Health):
    """Whether the process has loaded what it needs."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok", "model": True, "fallback": True}]})

    model: bool
    fallback: bool


async def livez(_: Call) -> Reply:
    """Return 200 while the process can answer at all."""
    return Reply(b'{"status":"ok"}')


async def readyz(call: Call) -> Reply:
    """Return 200 once the model and the fallback lists are loaded, and until the process begins to stop.

    A database or cache that is away changes nothing: answers say so by `degraded`.
    """
    loaded = dict(call.state.parts.readiness())
    ready = all(loaded.values()) and not call.state.is_stopping
    status = "ok" if ready else "stopping" if call.state.is_stopping else "starting"
    return Reply(orjson.dumps({"status": status, **loaded}), 200 if ready else _UNAVAILABLE)


async def exposed_metrics(_: Call) -> Reply:
    """Return the metrics of all workers in Prometheus' text format."""
    return Reply(await asyncio.to_thread(metrics.exposition), media_type=_EXPOSITION)


_TEXT = {"text/plain": {"schema": {"type": "string"}, "example": 'tailorbird_answers_total{source="cache"} 17.0'}}
add_hot_route(router, "/livez", livez, (), Health, scope=OPEN)
add_hot_route(router, "/readyz", readyz, (), Readiness, scope=OPEN)
add_hot_route(router, "/metrics", exposed_metrics, (), None, responses={200: {"content": _TEXT}})
