"""Opens OpenTelemetry traces if the environment names an exporter; otherwise nothing of it is imported."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from models.errors import TailorbirdError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SECONDS: Final = 2.0
"""An end waits so long for the last spans, and an answer for its own."""
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


class NoExporterError(TailorbirdError):
    """Traces are configured, and the package that exports them is not installed."""


@dataclass(frozen=True)
class Traces:
    """The spans of a server."""

    provider: "TracerProvider"

    @property
    def tracer(self) -> "Tracer":
        """Return the opener of spans."""
        return self.provider.get_tracer("tailorbird")

    def until_sent(self, lifespan: Lifespan | None) -> Lifespan:
        """Return the life of a server, at the end of which the last spans are sent."""

        @asynccontextmanager
        async def life(app: Any) -> AsyncIterator[None]:
            try:
                if lifespan is None:
                    yield
                else:
                    async with lifespan(app):
                        yield
            finally:
                sending = Thread(target=self.provider.shutdown, name="last spans", daemon=True)
                sending.start()
                await asyncio.to_thread(sending.join, _SECONDS)

        return life


def configured_traces(*, at_once: bool = False) -> Traces | None:
    """Return the traces that the environment asks for; None without an endpoint. Raises NoExporterError.

    A thread sends spans in groups; with `at_once` each answer waits for its spans, because no thread runs after it.
    """
    if not any(os.environ.get(name) for name in _VARIABLES) or os.environ.get("OTEL_SDK_DISABLED") == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise NoExporterError(
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
    return Traces(provider)
