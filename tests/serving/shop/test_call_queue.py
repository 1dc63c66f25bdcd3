"""Events leave the shop in batches, and no page waits for them."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from serving.shop.events import call_queue
from serving.shop.events.call_queue import CallQueue

pytestmark = pytest.mark.anyio


class Receiver:
    """A collector that answers as a test needs."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.batches = list(statuses), list[list[str]]()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        body: dict[str, Any] = json.loads(request.content)
        assert request.headers["authorization"].startswith("Basic ")
        assert "sentAt" in body
        self.batches.append([call["messageId"] for call in body["batch"]])
        await self.go_on.wait()
        return httpx.Response(self.statuses.pop(0) if self.statuses else 200)


def call(number: int) -> dict[str, Any]:
    return {"messageId": f"m{number}", "type": "track"}


def queue_to(receive: Callable[..., Any], **options: int) -> CallQueue:
    client = httpx.AsyncClient(base_url="http://api", transport=httpx.MockTransport(receive))
    return CallQueue(client, "key", **options)


async def test_calls_of_a_moment_are_one_request() -> None:
    receiver = Receiver()
    queue = queue_to(receiver)
    async with queue.running():
        for number in range(3):
            queue.put(call(number))
        assert await queue.sent(5)
    assert receiver.batches == [["m0", "m1", "m2"]]
    assert queue.lost == 0


async def test_a_batch_is_sent_again_until_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_queue, "_FIRST_WAIT", 0.001)
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
    queue.put({"messageId": "no", "type": "identify"})
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


async def test_what_still_waits_at_the_end_is_sent() -> None:
    receiver = Receiver()
    async with queue_to(receiver).running() as _:
        pass
    queue = queue_to(receiver)
    async with queue.running():
        queue.put(call(7))
    assert receiver.batches == [["m7"]]
