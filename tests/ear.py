"""A small web server that writes down what it is told, in the place of Prefect or of whoever gets alerts."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self


class Ear(ThreadingHTTPServer):
    """Hears on loopback for as long as the block runs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Desk)
        self.heard: list[tuple[str, Any]] = []

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

    def events(self) -> list[dict[str, Any]]:
        """Those that were emitted to Prefect."""
        return [event for path, said in self.heard if path.endswith("/events") for event in said]


class _Desk(BaseHTTPRequestHandler):
    server: Ear

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.heard.append((self.path, json.loads(self.rfile.read(length) or "null")))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""
