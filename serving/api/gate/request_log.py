"""Writes logs as lines of JSON without paths or values, and opens traces if the environment names an exporter."""

import asyncio
import logging
import os
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import orjson

from models.errors import TailorbirdError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Detail = Literal["errors", "all"]
_SLOW_SECONDS: Final = 1.0


class RequestLog:
    """Logs requests that failed or were slow, or all of them."""

    def __init__(self, detail: Detail = "errors", stream: TextIO | None = None) -> None:
        self._all = detail == "all"
        self._stream = stream or sys.stderr

    def wants(self, status: int, seconds: float) -> bool:
        """Return whether a request is logged."""
        return self._all or status == 500 or seconds >= _SLOW_SECONDS

    def request(self, **fields: Any) -> None:
        """Write one request."""
        self._write("error" if fields["status"] == 500 else "info", "request", fields)

    def defect(self, request_id: str, route: str, error: BaseException) -> None:
        """Write where an unexpected error came from. Its message may hold values of a request, so it is left out."""
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        self._write("error", "defect", {"request_id": request_id, "route": route, "error": kind, "at": places})

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "event": event,
            **fields,
        }
        self._stream.write(orjson.dumps(record).decode() + "\n")


class JsonFormatter(logging.Formatter):
    """Formats the records of other modules in the same way."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON; an exception is named by its class."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[0]:
            fields["error"] = f"{record.exc_info[0].__module__}.{record.exc_info[0].__qualname__}"
        return orjson.dumps(fields).decode()


def format_logs() -> None:
    """Let all loggers of this process write lines of JSON to standard error.

    uvicorn's own log of requests stays off: it holds paths, and these hold the ids of users.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True
    # Its lines about WebSockets hold the path.
    logging.getLogger("uvicorn.error").addFilter(lambda record: "WebSocket %s" not in str(record.msg))


_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SECONDS: Final = 2.0
"""An end waits so long for the last spans, and an answer for its own."""
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def until_sent(provider: "TracerProvider", lifespan: Lifespan | None) -> Lifespan:
    """Return the life of a server, at the end of which the last spans are sent."""

    @asynccontextmanager
    async def life(app: Any) -> AsyncIterator[None]:
        try:
            async with nullcontext() if lifespan is None else lifespan(app):
                yield
        finally:
            sending = Thread(target=provider.shutdown, name="last spans", daemon=True)
            sending.start()
            await asyncio.to_thread(sending.join, _SECONDS)

    return life


def configured_traces(*, at_once: bool = False) -> "TracerProvider | None":
    """Return what the environment asks for; None without an endpoint. Raises TailorbirdError without the exporter.

    A thread sends spans in groups; with `at_once` each answer waits for its spans, because no thread runs after it.
    """
    if not any(os.environ.get(name) for name in _VARIABLES) or os.environ.get("OTEL_SDK_DISABLED") == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise TailorbirdError(
            f"{_VARIABLES[0]} is set, and the exporter is not installed. Install `tailorbird[traces]`, or unset the "
            "variable."
        ) from None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "tailorbird-api"}))
    if at_once:
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(timeout=_SECONDS)))
    else:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
