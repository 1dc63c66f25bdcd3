"""A small server in place of Mixpanel's API, by its OpenAPI description (export, engage), with the faults of a network.

https://github.com/mixpanel/docs/tree/main/openapi: `export.openapi.yaml` and `query.openapi.yaml`.
"""

import gzip
import json
from base64 import b64encode
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from models.primitives.json_types import JsonObject
from tests.recording_server import LoopbackServer

USERNAME, SECRET, PROJECT = "tailorbird.abc123.mp-service-account", "s3cr:et", 3187
_LEAST_GZIP = 1400
_MILLISECONDS = 1e11


class MixpanelServer(LoopbackServer):
    """Listens on loopback while its block runs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(_Desk)
        self.events: list[JsonObject] = []
        self.profiles: list[JsonObject] = []
        self.page_size = 1000
        self.faults: list[str] = []
        """For the next answers: a status such as 429 or 503, `broken`, `error line` or `terminated`; "" for none."""
        self.requests: list[tuple[str, dict[str, str]]] = []
        """The path and the parameters of every request."""

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables of a client of this server."""
        return {"MIXPANEL_ENDPOINT_URL": self.url, "MIXPANEL_USERNAME": USERNAME, "MIXPANEL_SECRET": SECRET}

    @property
    def days(self) -> list[str]:
        """Return the days that were requested, in order."""
        return [given["from_date"] for path, given in self.requests if path.endswith("/export")]

    def exported(self, first: date, last: date, milliseconds: bool) -> bytes:
        """Return the events of some days as lines."""
        lines = []
        for event in self.events:
            time = event["properties"]["time"]
            seconds = time / 1000 if time >= _MILLISECONDS else time
            if first <= datetime.fromtimestamp(seconds, UTC).date() <= last:
                stated = event["properties"] | {"time": round(seconds * 1000) if milliseconds else int(seconds)}
                lines.append(json.dumps(event | {"properties": stated}).encode() + b"\n")
        return b"".join(lines)

    def page(self, form: dict[str, str]) -> tuple[int, JsonObject]:
        """Return the status and a page of profiles."""
        number = int(form.get("page", 0))
        if number and form.get("session_id") != "1234567890-EXAMPL":
            return 400, {"error": "a page above 0 needs its session_id", "status": "error"}
        wanted = json.loads(form["output_properties"])
        shown = self.profiles[number * self.page_size : (number + 1) * self.page_size]
        results = [
            profile | {"$properties": {k: v for k, v in profile["$properties"].items() if k in wanted}}
            for profile in shown
        ]
        answer = {"page": number, "page_size": self.page_size, "results": results, "total": len(self.profiles)}
        return 200, answer | {"session_id": "1234567890-EXAMPL", "status": "ok"}


class _Desk(BaseHTTPRequestHandler):
    server: MixpanelServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        given = self._received()
        fault = self._fault()
        if fault.isdecimal() or not given:
            return
        first, last = (date.fromisoformat(given[name]) for name in ("from_date", "to_date"))
        body = self.server.exported(first, last, given.get("time_in_ms") == "true")
        if fault == "error line":
            body += b'{"error": "Internal server error", "request": "export"}\n'
        elif fault == "terminated":
            body = body[: len(body) // 2] + b"terminated early"
        self._stream(body, broken=fault == "broken")

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        given = self._received({name: values[0] for name, values in form.items()})
        fault = self._fault()
        if fault.isdecimal() or not given:
            return
        status, answer = self.server.page(given)
        self._answer(status, answer | ({"status": "error"} if fault == "error line" else {}))

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _received(self, form: dict[str, str] | None = None) -> dict[str, str]:
        """Record a request; return its parameters, or none after a refusal."""
        parts = urlsplit(self.path)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()} | (form or {})
        self.server.requests.append((parts.path, given))
        if self.headers["Authorization"] != f"Basic {b64encode(f'{USERNAME}:{SECRET}'.encode()).decode()}":
            self._answer(401, {"error": "Invalid service account credentials", "status": "error"})
        elif parts.path not in ("/api/2.0/export", "/api/query/engage"):
            self._answer(404, {"error": "not found", "status": "error"})
        elif given.get("project_id") != str(PROJECT):
            self._answer(403, {"error": "not a member of the project", "status": "error"})
        else:
            return given
        return {}

    def _fault(self) -> str:
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdecimal():
            self._answer(int(fault), {"error": "try later", "status": "error"})
        return fault

    def _answer(self, status: int, body: JsonObject) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(text)

    def _stream(self, body: bytes, broken: bool) -> None:
        packed = "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > _LEAST_GZIP
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        content = gzip.compress(body) if packed else body
        if broken:
            content = content[: len(content) // 2]
        for start in range(0, len(content), 1000):
            part = content[start : start + 1000]
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if broken:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")


def event(number: int, day: str = "2026-11-01", what: str = "Product Viewed", **properties: Any) -> JsonObject:
    """Return an event of a day; its number sets its time, its user and its item."""
    noon = datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()
    usual = {"time": int(noon) + number, "distinct_id": f"user-{number % 7}", "$insert_id": f"{day}-{number}"}
    return {"event": what, "properties": usual | {"product_id": f"p{number % 5}", "name": "Cup"} | properties}
