"""Spans reach a receiver of OTLP over HTTP."""

import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.testclient import TestClient

from models.errors import TailorbirdError
from serving.api.assembly import build_app
from serving.api.gate.request_log import configured_traces
from tests.serving.api.fakes import new_key, state_of

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
ROUTE = "/v1/users/{user}/recommendations"


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator["Queue[tuple[str, bytes]]"]:
    """Path and body of each request to a receiver, which the environment names."""
    requests: Queue[tuple[str, bytes]] = Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.put((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{server.server_port}")
        yield requests
        server.shutdown()


@pytest.mark.parametrize("at_once", [True, False], ids=["before each answer", "at the end"])
def test_the_receiver_gets_spans_that_name_the_template_and_no_id(
    received: "Queue[tuple[str, bytes]]", at_once: bool
) -> None:
    text, key = new_key("read")
    app = build_app(state_of([key]), traces=configured_traces(at_once=at_once))
    with TestClient(app) as client:
        answer = client.get("/v1/users/secret-77/recommendations", headers={"x-api-key": text})
        assert received.empty() is not at_once
    path, body = received.get(timeout=10)
    export = ExportTraceServiceRequest.FromString(body).resource_spans[0]
    (span,) = export.scope_spans[0].spans
    attributes = {pair.key: pair.value for pair in span.attributes}
    assert (path, span.name) == ("/v1/traces", f"GET {ROUTE}")
    assert attributes["http.route"].string_value == ROUTE
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["tailorbird.request_id"].string_value == answer.headers["x-request-id"]
    assert "tailorbird-api" in {pair.value.string_value for pair in export.resource.attributes}
    assert b"secret-77" not in body
    assert text.encode() not in body


def test_a_missing_exporter_is_named_and_without_an_endpoint_nothing_is_traced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    assert configured_traces() is None
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert configured_traces() is None
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TailorbirdError, match=r"Install `tailorbird\[traces\]`, or unset"):
        configured_traces()
