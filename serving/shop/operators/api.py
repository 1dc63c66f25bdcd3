"""Calls the API for operators: reports, rules and previews."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx

from serving.shop.client.answers import Product
from serving.shop.client.api import ApiDownError
from serving.shop.operators import reports
from serving.shop.operators.answers import Preview, StoredRules
from serving.shop.operators.reports import read, read_or_none
from serving.shop.operators.rules import Rule, layer_body

SECONDS: Final = 10.0
"""A report or a preview may take a moment."""
_LAST: Final = 10
_FOUND: Final = 8
_MOST_TITLES: Final = 50
DEEPEST: Final = 9_900
"""The largest offset of a page of versions."""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a request, and its place in the body."""

    place: str
    detail: str


class RefusedError(Exception):
    """The API refuses the values of a request."""

    def __init__(self, detail: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(detail)
        self.detail, self.faults = detail, faults or (Fault("", detail),)


class OutdatedError(Exception):
    """Another version of the rules was stored since the one that a change is based on."""


class OperatorApi:
    """The API, with a key of the scope admin."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Use a client that sends the key."""
        self._client = client

    async def placements(self) -> tuple[reports.PlacementReport, ...]:
        """Return what each placement shows."""
        return await self._report("/v1/placements", lambda one: _all(reports.PlacementReport, one["placements"]))

    async def models(self) -> reports.Models:
        """Return champion and challenger."""
        kind = reports.VersionReport
        return await self._report(
            "/v1/champion",
            lambda one: reports.Models(read_or_none(kind, one["champion"]), read_or_none(kind, one["challenger"])),
        )

    async def ledger(self) -> tuple[reports.LedgerEntry, ...]:
        """Return the last batches."""
        return await self._report("/v1/ledger", lambda one: _all(reports.LedgerEntry, one["batches"]), k=_LAST)

    async def drift(self) -> tuple[reports.DriftWindow, ...]:
        """Return the last windows."""
        return await self._report("/v1/drift", lambda one: _all(reports.DriftWindow, one["windows"]), k=_LAST)

    async def alerts(self) -> tuple[reports.Alert, ...]:
        """Return the last alerts."""
        return await self._report("/v1/alerts", lambda one: _all(reports.Alert, one["alerts"]), k=_LAST)

    async def rules(self, k: int, offset: int = 0) -> StoredRules:
        """Return the current rules, and a page of versions."""
        return await self._report("/v1/rules", StoredRules.of, k=k, offset=offset)

    async def save(self, rules: Iterable[Rule], version: int, author: str, comment: str) -> int:
        """Store all rules as the version after `version`; return its number. Raises OutdatedError, RefusedError."""
        body = {"version": version, "author": author, "comment": comment, "rules": layer_body(rules)}
        return _understood(await self._request("PUT", "/v1/rules", json=body), lambda one: _number(one["current"]))

    async def undo(self, version: int, target: int, author: str, comment: str) -> int:
        """Store a version equal to an earlier one; return its number. Raises OutdatedError, RefusedError."""
        body = {"version": version, "target": target, "author": author, "comment": comment}
        stored = await self._request("POST", "/v1/rules/undo", json=body)
        return _understood(stored, lambda one: _number(one["current"]))

    async def preview(self, placement: str, k: int, user: str, item: str, rules: Sequence[Rule] | None) -> Preview:
        """Return a list under the current rules, and under these. Raises RefusedError."""
        who = {name: value for name, value in (("user", user), ("item", item)) if value}
        edited = {} if rules is None else {"rules": layer_body(rules)}
        body = {"placement": placement, "k": k, **who, **edited}
        answer = await self._request("POST", "/v1/preview", json=body)
        return _understood(answer, lambda one: Preview.of(one, rules or ()))

    async def find(self, text: str) -> tuple[Product, ...]:
        """Return items by words of their titles."""
        return await self._report("/v1/items", _products, q=text, k=_FOUND)

    async def products(self, items: Sequence[str]) -> tuple[Product, ...]:
        """Return items by id, as far as the catalogue has them."""
        if not items:
            return ()
        return await self._report("/v1/items", _products, item=list(items[:_MOST_TITLES]))

    async def _report(self, path: str, understand: Callable[[Mapping[str, Any]], _Answer], **query: Any) -> _Answer:
        return _understood(await self._request("GET", path, params=query), understand)

    async def _request(self, method: str, path: str, **content: Any) -> Mapping[str, Any]:
        try:
            answer = await self._client.request(method, path, timeout=SECONDS, **content)
            stated: Mapping[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError):
            raise ApiDownError from None
        if answer.status_code == 409:
            raise OutdatedError
        if answer.is_success:
            return stated
        if answer.status_code in (404, 413, 422):
            raise _refusal(stated)
        raise ApiDownError


def _refusal(stated: Mapping[str, Any]) -> Exception:
    faults = tuple(Fault(one["place"], _sentence(one["detail"])) for one in stated.get("faults", ()))
    return RefusedError(_sentence(str(stated.get("detail", "The API refuses the request."))), faults)


def _sentence(detail: str) -> str:
    """Return a detail that begins and ends as a sentence does."""
    return f"{detail[:1].upper()}{detail[1:]}{'' if detail.endswith(('.', '`')) else '.'}"


def _understood(stated: Mapping[str, Any], understand: Callable[[Mapping[str, Any]], _Answer]) -> _Answer:
    try:
        return understand(stated)
    except (KeyError, TypeError, AttributeError):
        raise ApiDownError from None


def _all(kind: type[_Answer], rows: Iterable[Mapping[str, Any]]) -> tuple[_Answer, ...]:
    return tuple(read(kind, row) for row in rows)


def _number(current: Mapping[str, Any]) -> int:
    return int(current["version"])


def _products(answer: Mapping[str, Any]) -> tuple[Product, ...]:
    return tuple(Product.of(one) for one in answer["items"])
