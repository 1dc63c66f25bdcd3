"""Events leave the shop in batches, and no page waits for them."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from serving.shop import calls
from serving.shop.calls import CallQueue
from serving.shop.visits import Visit

pytestmark = pytest.mark.anyio


class Receiver:
    """A collector that answers as a test needs."""

    def __init__(self, *statuses: int, most_bytes: int = 1 << 20) -> None:
        self.statuses, self.batches, self.most_bytes = list(statuses), list[list[str]](), most_bytes
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        body: dict[str, Any] = json.loads(request.content)
        assert request.headers["authorization"].startswith("Basic ")
        assert "sentAt" in body
        self.batches.append([call["messageId"] for call in body["batch"]])
        await self.go_on.wait()
        if len(request.content) > self.most_bytes:
            return httpx.Response(413)
        return httpx.Response(self.statuses.pop(0) if self.statuses else 200)


def call(number: int) -> dict[str, Any]:
    return {"messageId": f"m{number}", "type": "track", "context": {}}


def refusal() -> dict[str, Any]:
    (call,) = calls.answered(Visit.new().agreeing(), "a browser", agrees=False)
    return call | {"messageId": "no"}


def queue_to(receive: Callable[..., Any], **options: int) -> CallQueue:
    client = httpx.AsyncClient(base_url="http://api", transport=httpx.MockTransport(receive))
    return CallQueue(client, "key", **options)


async def test_a_batch_is_sent_again_until_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_FIRST_WAIT", 0.001)
    receiver = Receiver(503, 429)
    queue = queue_to(receiver)
    async with queue.running():
        queue.put(call(0))
        assert await queue.sent(5)
    assert receiver.batches == [["m0"]] * 3


async def test_a_collector_that_does_not_answer_delays_nobody_and_the_earliest_calls_are_counted_as_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver = Receiver()
    receiver.go_on.clear()
    queue = queue_to(receiver, most=3)
    async with queue.running():
        queue.put(call(0))
        while not receiver.batches:
            await asyncio.sleep(0)
        for number in range(1, 5):
            queue.put(call(number))
        assert not await queue.sent(0)
        receiver.go_on.set()
        assert await queue.sent(5)
    assert [one for batch in receiver.batches for one in batch] == ["m0", "m2", "m3", "m4"]
    assert queue.lost == 2
    assert "lost" in caplog.text


async def test_an_answer_about_consent_waits_longer_than_events() -> None:
    receiver = Receiver()
    queue = queue_to(receiver, most=3)
    queue.put(refusal())
    for number in range(4):
        queue.put(call(number))
    async with queue.running():
        assert await queue.sent(5)
    assert receiver.batches == [["no", "m2", "m3"]]


async def test_a_batch_that_the_collector_refuses_for_good_is_counted_as_lost() -> None:
    receiver = Receiver(400)
    queue = queue_to(receiver)
    async with queue.running():
        queue.put(call(0))
        assert await queue.sent(5)
        queue.put(call(1))
        assert await queue.sent(5)
    assert receiver.batches == [["m0"], ["m1"]]
    assert queue.lost == 1


async def test_of_a_batch_that_is_too_large_only_the_call_is_lost_that_is_too_large_by_itself() -> None:
    receiver = Receiver(most_bytes=5_000)
    queue = queue_to(receiver)
    for number in range(100):
        queue.put(call(number) | {"event": "x" * (6_000 if number == 70 else 100)})
    async with queue.running():
        assert await queue.sent(5)
    assert queue.lost == 1
    arrived = [batch for batch in receiver.batches if "m70" not in batch and len(batch) < 40]
    assert [one for batch in arrived for one in batch] == [f"m{number}" for number in range(100) if number != 70]


async def test_at_the_end_answers_about_consent_go_first_although_the_collector_was_down_and_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "_LAST_SECONDS", 0.5)
    monkeypatch.setattr(calls, "_LONGEST_WAIT", 60.0)
    receiver = Receiver(503)
    queue = queue_to(receiver)
    for number in range(150):
        queue.put(call(number))
    async with queue.running():
        while not receiver.batches:
            await asyncio.sleep(0)
        queue.put(refusal())
    assert receiver.batches[1][0] == "no"
    assert queue.lost == 0


async def test_a_refusal_that_is_lost_at_the_end_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(calls, "_LAST_SECONDS", 0.1)
    receiver = Receiver()
    receiver.go_on.clear()
    queue = queue_to(receiver)
    async with queue.running():
        queue.put(call(0))
        queue.put(refusal())
    assert queue.lost == 2
    assert "2 calls are lost (2 so far; answers about consent: 1): the shop ends." in caplog.text
