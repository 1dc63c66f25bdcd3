"""Opens OpenTelemetry traces if the environment names an exporter; otherwise nothing of it is imported."""

import os
from typing import TYPE_CHECKING, Final

from models.errors import TailorbirdError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class NoExporterError(TailorbirdError):
    """Traces are configured, and the package that exports them is not installed."""


def tracer() -> "Tracer | None":
    """Return what opens spans; None without an endpoint. Raises NoExporterError."""
    if not any(os.environ.get(name) for name in _VARIABLES) or os.environ.get("OTEL_SDK_DISABLED") == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # type: ignore[import-not-found]
            OTLPSpanExporter,
        )
    except ImportError:
        raise NoExporterError(
            f"{_VARIABLES[0]} is set, and the exporter is not installed. Install "
            "opentelemetry-exporter-otlp-proto-http, or unset the variable."
        ) from None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "tailorbird-api"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("tailorbird")
