"""Endpoints of Segment's libraries, with the paths that servers, browsers and mobile applications use."""

import base64
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import orjson
from fastapi import APIRouter

from infra.keys.api_keys import COLLECT
from models.primitives.json_types import JsonObject
from serving.api.gate.routes import INCOMING, add_hot_route
from serving.api.requests import problems
from serving.api.requests.problems import Problem, ProblemError
from serving.api.state import Call, Handler, Incoming, Reply
from serving.collector import bodies
from serving.events.clock import CLOCK
from serving.events.message import RefusedMessageError
from serving.events.spool import SpoolFullError

NOT_DURABLE: Final = Problem(
    503, "not-durable", "The calls could not be made durable. Send them again later.", headers={"retry-after": "2"}
)
ORIGIN_NOT_DECLARED: Final = Problem(
    403, "origin-not-declared", "The page's origin is not declared. Name it in the setting api_origins."
)
UNKNOWN_ENCODING: Final = Problem(415, "unsupported-encoding", "Send the body plain, or compressed by gzip.")
router = APIRouter(tags=["calls"])
_TAKEN: Final = Reply(b'{"success":true}')
_KINDS: Final[Mapping[str, str | None]] = {
    **dict.fromkeys(("batch", "b", "import")),
    **{path: kind for kind in ("track", "identify", "page", "screen", "group", "alias") for path in (kind, kind[0])},
}
"""The type of the calls of each path; None for batches."""
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?", re.ASCII)


def quota_spent(now: datetime) -> Problem:
    """Return the problem of a new visitor of a page whose key has sent what it may per day."""
    seconds = str(86_400 - now.hour * 3600 - now.minute * 60 - now.second)
    detail = "The page's key has sent what it may per day; visitors of earlier days still may. Send it again tomorrow."
    return Problem(429, "quota-spent", detail, headers={"retry-after": seconds})


def _endpoint(kind: str | None) -> Handler:
    async def take(call: Call) -> Reply:
        """Store calls; they are durable when the answer arrives."""
        incoming, intake = _incoming(call), call.state.parts.calls
        if intake is None:
            raise ProblemError(problems.NOT_STORED)
        given = incoming.head.authorization
        key = await incoming.admit(given, COLLECT) if given else None
        body = await _body(incoming)
        try:
            body = bodies.unpacked(body, incoming.head.content_encoding.lower())
            document = bodies.parsed(body)
            key = key or await incoming.admit(_basic(document.get("writeKey")), COLLECT)
            sent = bodies.calls_of(document, kind)
            if bucket := incoming.bucket():
                bucket.charge(max(0, len(sent.calls) - 1))
            await intake.take(sent, key, len(body))
        except bodies.QuotaSpentError:
            raise ProblemError(quota_spent(CLOCK.now())) from None
        except bodies.BodyTooLargeError as error:
            raise ProblemError(Problem(413, "body-too-large", str(error))) from None
        except (bodies.UnusableBodyError, RefusedMessageError) as error:
            raise ProblemError(Problem(400, "unreadable-body", str(error))) from None
        except SpoolFullError:
            raise ProblemError(NOT_DURABLE) from None
        return _TAKEN

    return take


async def _settings(call: Call) -> Reply:
    """Return the settings of a library, by the key in the path."""
    incoming = _incoming(call)
    await incoming.admit(_basic(call.value), COLLECT)
    host = incoming.head.host.decode("latin-1")
    return Reply(orjson.dumps(library_settings(call.value, host, incoming.scheme)))


async def _measurements(call: Call) -> Reply:
    """Take the measurements that libraries make of themselves, and drop them."""
    await _body(_incoming(call))
    return _TAKEN


def _incoming(call: Call) -> Incoming:
    """Return the request. Raises ProblemError for a page whose origin is not declared."""
    assert call.incoming is not None  # its routes are registered so
    origin = call.incoming.head.origin
    if origin and origin not in call.state.origins:
        raise ProblemError(ORIGIN_NOT_DECLARED)
    return call.incoming


async def _body(incoming: Incoming) -> bytes:
    """Return the body, which is JSON whatever type its sender states: some libraries state that of a form."""
    if incoming.head.content_encoding.lower() not in (b"", b"identity", b"gzip"):
        raise ProblemError(UNKNOWN_ENCODING)
    return await incoming.read(bodies.MOST_BYTES)


def _basic(key: object) -> bytes:
    """Return a key from a body or a path as the header that other libraries send."""
    return b"Basic " + base64.b64encode(f"{key}:".encode(errors="replace")) if isinstance(key, str) else b""


for _path, _kind in _KINDS.items():
    add_hot_route(router, f"/v1/{_path}", _endpoint(_kind), (), None, INCOMING, "POST", include_in_schema=False)
add_hot_route(router, "/v1/m", _measurements, (), None, INCOMING, "POST", include_in_schema=False)
add_hot_route(router, "/v1/projects/{key}/settings", _settings, (), None, INCOMING, include_in_schema=False)


def library_settings(write_key: str, host: str, scheme: str) -> JsonObject:
    """Return settings that make a library send all calls to this server, without Segment's own measurements."""
    place = {"apiHost": f"{host}/v1", "protocol": scheme} if _HOST.fullmatch(host) else {}
    own = {"apiKey": write_key, "unbundledIntegrations": [], "addBundledMetadata": False, **place}
    return {
        "integrations": {"Segment.io": own},
        "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}, "identify": {}, "group": {}},
        "edgeFunction": {},
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "analyticsNextEnabled": True,
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }
