import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import cycle
from threading import Event

import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature as signature

from infra.registry import webhook_listener
from infra.registry.webhook_listener import CONNECTIONS, listen

SECRET = "a word between two servers"
BODY = '{"entity": "model_version_tag"}'


@pytest.fixture
def wake() -> Event:
    return Event()


@pytest.fixture
def address(wake: Event) -> Iterator[str]:
    server = listen(0, SECRET, wake)
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def call(address: str, body: str = BODY, **headers: str) -> int:
    given = {f"X-MLflow-{name.replace('_', '-')}": value for name, value in headers.items()}
    request = urllib.request.Request(address, body.encode() if body else None, given)  # noqa: S310 -- loopback
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def signed(secret: str = SECRET, moment: float = 0.0, body: str = BODY) -> dict[str, str]:
    when = str(int(time.time() + moment))
    return {"Delivery_Id": "d1", "Timestamp": when, "Signature": signature(secret, "d1", when, body)}


def test_a_call_that_mlflow_signed_wakes(address: str, wake: Event) -> None:
    assert call(f"{address}/mlflow", **signed()) == 204
    assert wake.is_set()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed("another word"),
        signed(body="{}"),
        signed(moment=-100_000),
        signed(moment=100_000),
        signed() | {"Timestamp": "soon"},
        signed() | {"Timestamp": "²"},
        signed() | {"Timestamp": "9" * 5000},
        signed() | {"Delivery_Id": "d2"},
    ],
)
def test_any_other_call_is_refused_and_wakes_nobody(address: str, wake: Event, headers: dict[str, str]) -> None:
    assert call(f"{address}/mlflow", **headers) == 401
    assert not wake.is_set()


def test_the_listener_reports_that_it_is_well_and_knows_no_other_page(address: str) -> None:
    assert call(f"{address}/health", "") == 200
    assert call(f"{address}/", "") == 404
    assert call(f"{address}/other", **signed()) == 404


def test_a_length_that_is_none_is_refused(address: str) -> None:
    request = urllib.request.Request(f"{address}/mlflow", BODY.encode(), {"Content-Length": "many"})  # noqa: S310
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.urlopen(request, timeout=5)  # noqa: S310 -- loopback


@pytest.fixture
def slow_clients(address: str) -> Iterator[list[socket.socket]]:
    """300 connections: silent ones, ones that never end their headers, and ones that never send their body."""
    host, port = address.removeprefix("http://").split(":")
    announced = f"POST /mlflow HTTP/1.1\r\nContent-Length: {len(BODY)}\r\n"
    signature_headers = "".join(f"X-MLflow-{name.replace('_', '-')}: {value}\r\n" for name, value in signed().items())
    beginnings = ["", announced, f"{announced}{signature_headers}\r\n{{"]
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection((host, int(port)), timeout=10)) for _ in range(300)]
        for client, beginning in zip(clients, cycle(beginnings)):
            with suppress(OSError):  # the listener may have closed it already
                client.sendall(beginning.encode())
        yield clients


def test_slow_clients_hold_a_bounded_number_of_threads_and_keep_mlflow_from_nothing(
    address: str, wake: Event, slow_clients: list[socket.socket]
) -> None:
    threads = sum("process_request_thread" in thread.name for thread in threading.enumerate())
    assert len(slow_clients) > 10 * CONNECTIONS
    assert threads <= CONNECTIONS
    assert call(f"{address}/mlflow", **signed()) == 204
    assert wake.is_set()


def test_a_client_that_does_not_end_its_request_is_closed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_listener, "SECONDS", 0.0)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"POST /mlflow HTTP/1.1\r\n")
        assert client.recv(1) == b""


def test_an_unsigned_body_is_not_waited_for(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"POST /mlflow HTTP/1.1\r\nContent-Length: 999999\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 401")
