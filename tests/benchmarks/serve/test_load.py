"""The client of measurements sends what it is given, once, and at the given rate."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.serve.load import Load, LoadError, latency, send


@contextmanager
def server(status: int = 200) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the address of a server, and the bodies that it gets."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"done")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", bodies
    finally:
        running.shutdown()
        running.server_close()


@pytest.mark.parametrize("rate", [float("inf"), 200.0])
def test_every_body_arrives_once_and_at_the_rate(rate: float) -> None:
    with server() as (address, bodies):
        sent = send([Load(address, ["/"], body=f"body {n}", connections=4, meant=b"done") for n in range(60)], rate)
    assert sorted(bodies) == sorted(b"body %d" % n for n in range(60))
    assert (len(sent.seconds), sent.meant) == (60, 60)
    assert sent.took >= 59 / rate
    assert sent.quantile_ms(0.5) <= sent.quantile_ms(0.99) <= sent.took * 1000


def test_the_warm_up_is_left_out() -> None:
    with server() as (address, bodies):
        taken = latency(Load(address, ["/"], body="", connections=2), rate=100, seconds=0.3, warm_up=0.2)
    assert (len(taken.seconds), len(bodies)) == (30, 50)


def test_an_answer_that_is_no_success_ends_the_measurement() -> None:
    with server(503) as (address, _), pytest.raises(LoadError, match="503"):
        send([Load(address, ["/"], body="", connections=1)])
