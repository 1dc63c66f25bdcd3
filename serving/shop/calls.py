"""States what visitors with consent do, as Segment's libraries do, and sends it without delaying a page."""

import asyncio
import hashlib
import logging
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from serving.shop.api import Product
from serving.shop.visits import Line, Visit

Call = dict[str, Any]
CATEGORY: Final = "Personalization"
"""The category of consent that the collector's mapping asks for."""
_CONSENT: Final = "consent"
_LONGEST_AGENT: Final = 500
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_PLACEMENT: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_POSITION: Final = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Origin:
    """The list that showed an item, and the place on it. Links and buttons carry it along."""

    recommendation_id: str
    placement: str
    position: int

    @classmethod
    def of(cls, fields: Mapping[str, str], position: str) -> "Origin | None":
        """Return the origin in a query or a form; None if there is none."""
        shown, placement = fields.get("list", ""), fields.get("placement", "")
        if _ID.fullmatch(shown) and _PLACEMENT.fullmatch(placement) and _POSITION.fullmatch(position):
            return cls(shown, placement, int(position))
        return None

    def stated(self) -> dict[str, str | int]:
        """Return the properties by which the recommender counts an act for this list."""
        return {
            "recommendation_id": self.recommendation_id,
            "placement": self.placement,
            "position": self.position,
        }


def clicked(visit: Visit, agent: str, item: str, origin: Origin) -> Call:
    """Return the click on an item of a shelf. A page that is loaded again states the same click."""
    name = _name(visit, origin.recommendation_id, str(origin.position), item)
    return _track(visit, agent, "Product Clicked", {"product_id": item, **origin.stated()}) | name


def viewed(visit: Visit, agent: str, item: str) -> Call:
    """Return the view of a product's page."""
    return _track(visit, agent, "Product Viewed", {"product_id": item})


def added(visit: Visit, agent: str, item: str, origin: Origin | None) -> Call:
    """Return an addition to the basket."""
    return _track(visit, agent, "Product Added", {"product_id": item, **(origin.stated() if origin else {})})


def removed(visit: Visit, agent: str, item: str) -> Call:
    """Return a removal from the basket."""
    return _track(visit, agent, "Product Removed", {"product_id": item})


def bought(visit: Visit, agent: str, order: str, known: Mapping[str, Product]) -> Call:
    """Return the purchase of the basket, with the prices that the shop showed as far as products are `known`.

    A form that is sent twice states the same purchase.
    """
    properties = {"order_id": order, "products": [_product(line, known.get(line.item)) for line in visit.basket]}
    return _track(visit, agent, "Order Completed", properties) | _name(visit, order)


def signed_in(visit: Visit, agent: str) -> Call:
    """Return the sign-in of a household, which gets the clicks of this browser.

    It states no consent: a household that refused elsewhere stays so until it agrees itself.
    """
    return _call(visit, agent, "identify", traits={})


def answered(visit: Visit, agent: str, *, agrees: bool) -> Iterator[Call]:
    """Yield the answer of a visitor about personal shelves, which counts at once.

    A refusal is that of the browser's id, too: it would otherwise outlive the household's answer.
    """
    both = visit.device is not None and visit.household is not None
    parts = [visit] if agrees or not both else [replace(visit, household=None), replace(visit, device=None)]
    for part in parts:
        call = _call(part, agent, "identify", traits={})
        call["context"][_CONSENT] = {"categoryPreferences": {CATEGORY: agrees}}
        yield call


def is_answer(call: Call) -> bool:
    """Return whether a call states an answer about consent. No other call does: the stored answer counts for it."""
    return _CONSENT in call["context"]


def _product(line: Line, known: Product | None) -> dict[str, Any]:
    stated: dict[str, Any] = {"product_id": line.item, "quantity": line.number}
    if line.recommendation_id:
        stated["recommendation_id"] = line.recommendation_id
    if known is not None and known.price is not None:
        stated |= {"price": known.price, "currency": known.currency}
    return stated


def _track(visit: Visit, agent: str, event: str, properties: dict[str, Any]) -> Call:
    return _call(visit, agent, "track", event=event, properties=properties)


def _call(visit: Visit, agent: str, kind: str, **stated: Any) -> Call:
    who = {"anonymousId": visit.device, "userId": visit.household}
    return {
        "type": kind,
        "messageId": secrets.token_hex(16),
        "timestamp": now(),
        "context": {"userAgent": agent[:_LONGEST_AGENT]},
        **{name: value for name, value in who.items() if value is not None},
        **stated,
    }


def _name(visit: Visit, *act: str) -> Call:
    """Return the id of an act, by which the recommender counts it once."""
    seen = " ".join([str(visit.device), *act])
    return {"messageId": hashlib.sha256(seen.encode()).hexdigest()[:32]}


def now() -> str:
    """Return the time by the clock of this machine. The collector corrects it by the time of sending."""
    return datetime.now(UTC).isoformat()


_MOST: Final = 5_000
_BATCH: Final = 100
_LINGER_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 5.0
_LAST_SECONDS: Final = 3.0
_LAST_PATIENCE_SECONDS: Final = 1.0
_TOO_LARGE: Final = 413
_log: Final = logging.getLogger(__name__)


class CallQueue:
    """Calls that wait in memory. Beyond `most`, the earliest events are lost, and the log counts them.

    Answers about consent overtake events: they are worth more than any of them.
    """

    def __init__(self, client: httpx.AsyncClient, key: str, most: int = _MOST) -> None:
        """Send through this client, with a key of the collector."""
        self._client, self._login, self._most = client, httpx.BasicAuth(key, ""), most
        self._waiting: deque[Call] = deque()
        self._some, self._none = asyncio.Event(), asyncio.Event()
        self._none.set()
        self.lost = 0

    def put(self, call: Call) -> None:
        """Take a call; return at once."""
        if len(self._waiting) >= self._most:
            lost = next((one for one in self._waiting if not is_answer(one)), self._waiting[0])
            self._waiting.remove(lost)
            self._lose([lost], "too many wait")
        self._waiting.append(call)
        self._none.clear()
        self._some.set()

    async def sent(self, seconds: float) -> bool:
        """Return whether all calls are durable in this time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._none.wait(), seconds)
        return self._none.is_set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send meanwhile. At the end, what waits gets some more seconds, which no long wait or slow answer uses up."""
        usual = asyncio.create_task(self._run(_PATIENCE_SECONDS, _LONGEST_WAIT))
        try:
            yield
        finally:
            await _ended(usual)
            last = asyncio.create_task(self._run(_LAST_PATIENCE_SECONDS, _FIRST_WAIT))
            if not await self.sent(_LAST_SECONDS):
                self._lose(self._waiting, "the shop ends")
            await _ended(last)

    async def _run(self, patience: float, longest_wait: float) -> None:
        wait = _FIRST_WAIT
        while True:
            await self._some.wait()
            await asyncio.sleep(_LINGER_SECONDS)
            if await self._send(self._next(), patience):
                wait = _FIRST_WAIT
            else:
                await asyncio.sleep(wait)
                wait = min(longest_wait, 2 * wait)

    def _next(self) -> list[Call]:
        """Return the calls to send now. If not all fit, answers about consent come before the earliest events."""
        waiting = list(self._waiting)
        if len(waiting) > _BATCH:
            waiting.sort(key=lambda call: not is_answer(call))
        return waiting[:_BATCH]

    def _forget(self, batch: Sequence[Call]) -> None:
        """Drop calls that need no repetition, as far as they still wait."""
        done = {id(call) for call in batch}
        self._waiting = deque(call for call in self._waiting if id(call) not in done)
        if not self._waiting:
            self._some.clear()
            self._none.set()

    async def _send(self, batch: Sequence[Call], patience: float) -> bool:
        """Return whether no call needs a repetition: each is durable, or the collector refuses it for good.

        A batch that is too large is sent in halves, so that only a call that is too large by itself is lost.
        """
        body = {"batch": batch, "sentAt": now()}
        try:
            answer = await self._client.post("/v1/batch", json=body, auth=self._login, timeout=patience)
        except httpx.HTTPError:
            return False
        if answer.status_code == 429 or answer.status_code >= 500:
            return False
        if answer.status_code == _TOO_LARGE and len(batch) > 1:
            half = len(batch) // 2
            return await self._send(batch[:half], patience) and await self._send(batch[half:], patience)
        if not answer.is_success:
            self._lose(batch, f"the collector refuses them with {answer.status_code}")
        self._forget(batch)
        return True

    def _lose(self, calls: Collection[Call], reason: str) -> None:
        self.lost += len(calls)
        answers = sum(map(is_answer, calls))
        text = "%d calls are lost (%d so far; answers about consent: %d): %s."
        _log.error(text, len(calls), self.lost, answers, reason)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
