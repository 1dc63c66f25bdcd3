"""What a browser keeps, and the events that leave the shop in batches, for which no page waits."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from serving.shop import calls
from serving.shop.calls import CallQueue
from serving.shop.visits import (
    CONSENT_SECONDS,
    COOKIE,
    MOST_HIDDEN,
    MOST_LINES,
    NOTE_COOKIE,
    Line,
    Visit,
    known_visit,
    written,
)

SECRET = b"secret"
pytestmark = pytest.mark.anyio


def browser(cookie: str, note: str = "") -> Request:
    headers = [(b"cookie", f"{COOKIE}={cookie}; {NOTE_COOKIE}={note}".encode())]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    return Request(scope)


def test_a_visit_comes_back_as_it_was_written_with_messages_of_the_shop_alone() -> None:
    visit = Visit.new().agreeing().signed_in("a Łódź/1").added(["x;y", "z"], {"z": "list"}).hiding("ü", "hidden")
    assert known_visit(browser(written(visit, SECRET), "hidden"), SECRET) == visit
    for note in ("", "<b>", "nothing"):
        assert known_visit(browser(written(visit, SECRET), note), SECRET) == replace(visit, note="")


def test_a_cookie_that_is_not_ours_or_was_changed_is_no_visit() -> None:
    cookie = written(Visit.new().agreeing(), SECRET)
    assert known_visit(browser(cookie), SECRET)
    for change in ("", "x", ".", "AAAA.00", "é.é", "A" + cookie[1:]):
        assert known_visit(browser(change), SECRET) is None
    assert known_visit(browser(cookie), b"another secret") is None


def test_a_cookie_stays_below_the_limit_of_browsers_however_long_ids_are() -> None:
    visit = Visit.new().added(f"{number}".rjust(256, "x") for number in range(MOST_LINES))
    for number in range(MOST_HIDDEN):
        visit = visit.hiding(f"{number}".rjust(256, "ü"), "hidden")
    cookie = written(visit, SECRET)
    assert len(cookie) < 4_000
    kept = known_visit(browser(cookie), SECRET)
    assert kept
    assert 0 < len(kept.basket) < MOST_LINES


def test_the_lists_of_products_are_the_first_that_a_long_cookie_leaves_out() -> None:
    items = [f"{number}".rjust(110, "x") for number in range(MOST_LINES)]
    visit = Visit.new().agreeing().added(items, dict.fromkeys(items, "0f8fad5bd9cb469fa16570867728950e"))
    kept = known_visit(browser(written(visit.hiding("y", "hidden"), SECRET)), SECRET)
    assert kept
    assert (kept.items, kept.hidden) == (tuple(items), ("y",))
    assert {line.recommendation_id for line in kept.basket} == {""}


def test_half_a_year_after_an_answer_the_visitor_is_asked_again_however_often_the_cookie_was_set() -> None:
    for answered in (Visit.new().agreeing(), Visit.new().refusing()):
        old = replace(answered, answered_at=answered.answered_at - CONSENT_SECONDS).added(["milk"])
        asked = known_visit(browser(written(old, SECRET)), SECRET)
        assert asked
        assert (asked.agrees, asked.device, asked.items) == (None, None, ("milk",))
        assert known_visit(browser(written(answered, SECRET)), SECRET) == replace(answered, note="")


def test_the_id_of_a_browser_exists_only_with_consent_and_a_sign_in_changes_the_tokens_of_forms() -> None:
    visit = Visit.new()
    assert visit.device is None
    agreed = visit.agreeing()
    assert agreed.device
    assert agreed.agreeing().device == agreed.device
    assert agreed.refusing().device is None
    assert agreed.signed_in("1").device == agreed.device
    assert visit.signed_in("1").nonce != visit.nonce
    assert replace(visit, note="added").nonce == visit.nonce


@pytest.mark.parametrize("leave", [Visit.signed_out, lambda visit: visit.signed_in("2")])
def test_the_next_person_gets_nothing_of_a_household_and_answers_for_themselves(leave: Any) -> None:
    for answered in (Visit.new().agreeing(), Visit.new().refusing()):
        visit = leave(answered.signed_in("1").added(["milk"]).hiding("tea", "hidden"))
        assert visit.household in (None, "2")
        assert (visit.basket, visit.hidden, visit.agrees, visit.device) == ((), (), None, None)


def test_the_basket_remembers_lists_only_with_consent_and_when_full_takes_more_of_what_it_has() -> None:
    visit = Visit.new().added(["milk"], {"milk": "list"})
    assert visit.basket == (Line("milk", 1),)
    agreed = visit.agreeing().added(["milk", "tea"], {"milk": "list"}).added(["milk"])
    assert agreed.basket == (Line("milk", 3, "list"), Line("tea", 1))
    assert agreed.refusing().basket == (Line("milk", 3), Line("tea", 1))
    visit = Visit.new().added(str(number) for number in range(MOST_LINES))
    assert visit.added(["0"]).basket[0] == Line("0", 2)
    full = visit.added(["new"])
    assert (full.note, full.basket) == ("full", visit.basket)


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
