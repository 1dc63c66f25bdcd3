"""A small web server that records requests, in place of Prefect or of a receiver of alerts."""

import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

from infra.installation import Installation
from models.primitives.json_types import JsonObject

_ENDS_WITHIN = 0.02
"""Seconds in which a server notices that it has to end."""


class LoopbackServer(ThreadingHTTPServer):
    """Listens on loopback while its block runs."""

    def __init__(self, desk: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), desk)

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, args=(_ENDS_WITHIN,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        """Return the server's address."""
        return f"http://127.0.0.1:{self.server_port}"


class RecordingServer(LoopbackServer):
    """Records what it receives."""

    def __init__(self) -> None:
        super().__init__(_Desk)
        self.received: list[tuple[str, Any]] = []

    def answer(self, _path: str, _payload: Any) -> tuple[int, Any]:
        """Return status and body; by default an empty response."""
        return 204, None

    def installed(self, installation: Installation) -> Installation:
        """Return an installation whose Prefect is this server."""
        return replace(installation, endpoints=replace(installation.endpoints, prefect_api_url=f"{self.url}/api"))

    def events(self) -> list[JsonObject]:
        """Return the events that were emitted to Prefect."""
        return [event for path, payload in self.received if path.endswith("/events") for event in payload]


class Prefect(RecordingServer):
    """Knows one deployment while `deployed` is true, and its requested runs."""

    deployed = True

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[JsonObject] = []

    def response(self, path: str, payload: Any) -> Any:
        """Return the body for a path, or None if nothing is there."""
        raise NotImplementedError

    def answer(self, path: str, payload: Any) -> tuple[int, Any]:
        response = self.response(path, payload)
        return 404 if response is None else 200, response


class _Desk(BaseHTTPRequestHandler):
    server: RecordingServer

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        payload = json.loads(self.rfile.read(length) or "null")
        self.server.received.append((self.path, payload))
        status, body = self.server.answer(self.path, payload)
        self.send_response(status)
        self.end_headers()
        if status != 204:
            self.wfile.write(json.dumps(body).encode())

    do_GET = do_POST  # noqa: N815 - names of the library

    def log_message(self, *_: object) -> None:
        """Log nothing."""
