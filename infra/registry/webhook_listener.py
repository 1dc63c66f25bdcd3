"""Receives MLflow's webhooks. A signed call wakes the reconciler and decides nothing."""

import hashlib
import hmac
import re
import socket
import time
from base64 import b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, Final

HOST: Final = "127.0.0.1"
PATH: Final = "/mlflow"
CONNECTIONS: Final = 16
"""Each open connection holds a thread; beyond this number the oldest is closed."""
SECONDS: Final = 5.0
"""The longest that a connection may take for its whole request. MLflow takes milliseconds."""
_MAX_BODY_BYTES: Final = 1_000_000
_NUMBER: Final = re.compile("[0-9]{1,12}")
_MAX_AGE_SECONDS: Final = 300
"""An older call may be a replay."""
_END_SECONDS: Final = 1.0


class Listener(ThreadingHTTPServer):
    """An HTTP server that gives clients a bounded number of threads and a bounded time."""

    daemon_threads = True
    request_queue_size = 128
    # Handlers end within SECONDS, so closing the server need not wait for them.
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._opened: dict[socket.socket, float] = {}
        self._lock = Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in a thread. If all are taken, end the oldest: slow clients must not block MLflow."""
        waiting_until = time.monotonic() + _END_SECONDS
        while self._count() >= CONNECTIONS:
            self._end(1)
            if time.monotonic() > waiting_until:
                self.shutdown_request(request)
                return
            time.sleep(0.001)
        with self._lock:
            self._opened[request] = time.monotonic()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection and free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._opened.pop(request, None)

    def service_actions(self) -> None:
        """End connections that have taken too long; the server's loop calls this twice a second."""
        too_old = time.monotonic() - SECONDS
        with self._lock:
            late = sum(opened < too_old for opened in self._opened.values())
        self._end(late)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: clients may break off."""

    def _count(self) -> int:
        with self._lock:
            return len(self._opened)

    def _end(self, number: int) -> None:
        """Shut the oldest connections down: the read of a handler returns immediately, and its thread ends."""
        with self._lock:
            for request in list(self._opened)[:number]:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:  # the client closed it first
                    continue


def listen(port: int, secret: str, wake: Event) -> Listener:
    """Start a server that sets `wake` for every signed POST /mlflow, and that answers GET /health.

    It serves on loopback in its own thread until `shutdown`. With port 0 it takes a free port.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200 if self.path == "/health" else 404)

        def do_POST(self) -> None:
            self._answer(self._check())

        def _check(self) -> int:
            """Return the status for a call. The body is read only if the headers could belong to a signed call."""
            length = _length(self.headers.get("Content-Length") or "0")
            if self.path != PATH:
                return 404
            if not 0 <= length <= _MAX_BODY_BYTES:
                return 413
            header = self.headers.get
            if not (_recent(header) and _genuine(secret, header, self.rfile.read(length))):
                return 401
            wake.set()
            return 204

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing about clients."""

    server = Listener((HOST, port), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def _length(text: str) -> int:
    """Return the number in a Content-Length header; -1 if it holds no number."""
    return int(text) if _NUMBER.fullmatch(text) else -1


def _recent(header: Callable[[str], str | None]) -> bool:
    """Return whether a call has a signature and a timestamp of the last minutes."""
    moment = header("X-MLflow-Timestamp") or ""
    recent = bool(_NUMBER.fullmatch(moment)) and abs(time.time() - int(moment)) <= _MAX_AGE_SECONDS
    return recent and bool(header("X-MLflow-Signature"))


def _genuine(secret: str, header: Callable[[str], str | None], body: bytes) -> bool:
    """Check MLflow's signature: HMAC-SHA-256 over delivery id, time and body, as in standardwebhooks.com."""
    delivery, moment = header("X-MLflow-Delivery-Id") or "", header("X-MLflow-Timestamp") or ""
    signed = hmac.new(secret.encode(), f"{delivery}.{moment}.".encode() + body, hashlib.sha256).digest()
    expected = f"v1,{b64encode(signed).decode()}"
    return hmac.compare_digest(expected.encode(), (header("X-MLflow-Signature") or "").encode())
