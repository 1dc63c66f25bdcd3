import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from threading import Event

import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature as signature

from infra.bell import listen

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


def test_it_says_that_it_is_well_and_knows_no_other_page(address: str) -> None:
    assert call(f"{address}/health", "") == 200
    assert call(f"{address}/", "") == 404
    assert call(f"{address}/other", **signed()) == 404


def test_a_length_that_is_none_is_refused(address: str) -> None:
    request = urllib.request.Request(f"{address}/mlflow", BODY.encode(), {"Content-Length": "many"})  # noqa: S310
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.urlopen(request, timeout=5)  # noqa: S310 -- loopback
