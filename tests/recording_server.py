"""A small web server that writes down what it is told, in the place of Prefect or of whoever gets alerts."""

import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

from infra.installation import Installation


class RecordingServer(ThreadingHTTPServer):
    """Hears on loopback for as long as the block runs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Desk)
        self.received: list[tuple[str, Any]] = []

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        """Where it hears."""
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, _path: str, _payload: Any) -> tuple[int, Any]:
        """Status and body; by default it is heard, and nothing said."""
        return 204, None

    def events(self) -> list[dict[str, Any]]:
        """Those that were emitted to Prefect."""
        return [event for path, payload in self.received if path.endswith("/events") for event in payload]


class Prefect(RecordingServer):
    """Knows one deployment as long as it is `deployed`, and the runs that it was asked for."""

    deployed = True

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[dict[str, Any]] = []

    def response(self, path: str, payload: Any) -> Any:
        """What there is under a path; None for nothing."""
        raise NotImplementedError

    def answer(self, path: str, payload: Any) -> tuple[int, Any]:
        response = self.response(path, payload)
        return 404 if response is None else 200, response

    def installed(self, installation: Installation) -> Installation:
        """An installation whose Prefect this is."""
        return replace(installation, endpoints=replace(installation.endpoints, prefect_api_url=f"{self.url}/api"))


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
        """Say nothing."""
