"""Listens for MLflow's webhooks, which say that somebody changed something: they wake, and decide nothing."""

import hashlib
import hmac
import re
import time
from base64 import b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Final

HOST: Final = "127.0.0.1"
PATH: Final = "/mlflow"
_LONGEST: Final = 1_000_000
_NUMBER: Final = re.compile("[0-9]{1,12}")
_SECONDS: Final = 300
"""An older call may be somebody's copy."""


def listen(port: int, secret: str, wake: Event) -> ThreadingHTTPServer:
    """Set `wake` whenever a signed call comes to POST /mlflow; GET /health answers too. Port 0 takes a free one.

    Serves on loopback in a thread of its own until `shutdown`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200 if self.path == "/health" else 404)

        def do_POST(self) -> None:
            length = _length(self.headers.get("Content-Length") or "0")
            if self.path != PATH or not 0 <= length <= _LONGEST:
                self._say(404 if self.path != PATH else 413)
                return
            genuine = _genuine(secret, self.headers.get, self.rfile.read(length))
            if genuine:
                wake.set()
            self._say(204 if genuine else 401)

        def _say(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is logged of who asks for what."""

    server = ThreadingHTTPServer((HOST, port), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def _length(said: str) -> int:
    """-1 for what is no number."""
    return int(said) if _NUMBER.fullmatch(said) else -1


def _genuine(secret: str, header: Callable[[str], str | None], body: bytes) -> bool:
    """Signed as MLflow does: HMAC-SHA-256 over delivery id, time and body, as in standardwebhooks.com."""
    delivery, moment = header("X-MLflow-Delivery-Id") or "", header("X-MLflow-Timestamp") or ""
    if not _NUMBER.fullmatch(moment) or abs(time.time() - int(moment)) > _SECONDS:
        return False
    signed = hmac.new(secret.encode(), f"{delivery}.{moment}.".encode() + body, hashlib.sha256).digest()
    expected = f"v1,{b64encode(signed).decode()}"
    return hmac.compare_digest(expected.encode(), (header("X-MLflow-Signature") or "").encode())
