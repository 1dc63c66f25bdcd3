"""Endpoints of reports: placements, champion, ledger, drift and alerts."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from fastapi import APIRouter

from serving.api.gate.call import Call, Reply
from serving.api.gate.routes import add_hot_route
from serving.api.operators.answering import answered, next_page, operators, page_size, part
from serving.api.requests.list_query import PAGING, QueryParser
from serving.operations.reports import AlertPage, ChampionReport, DriftPage, LedgerPage, Paging, Placements

if TYPE_CHECKING:
    from serving.operations.report_reader import ReportReader

router = APIRouter(tags=["operators"])
_Entry = TypeVar("_Entry")
_PAGES, _NOTHING = QueryParser(PAGING), QueryParser(())


async def placements(call: Call) -> Reply:
    """Return what each placement shows: its rules in words, the freshness of its lists, and answers by source."""
    _NOTHING.parse(call.query)
    with answered():
        return Reply(orjson.dumps(Placements(await operators(call).reports.placements())))


async def champion(call: Call) -> Reply:
    """Return champion and challenger side by side, with their figures and the checks of the gate."""
    _NOTHING.parse(call.query)
    with answered():
        return Reply(orjson.dumps(await operators(call).reports.champion()))


async def ledger(call: Call) -> Reply:
    """Return the batches of the ledger, the latest first."""
    return await _page(call, "/v1/ledger", lambda reports, wanted: reports.ledger(wanted), LedgerPage)


async def drift(call: Call) -> Reply:
    """Return the windows of the drift monitor, the latest first."""
    return await _page(call, "/v1/drift", lambda reports, wanted: reports.drift(wanted), DriftPage)


async def alerts(call: Call) -> Reply:
    """Return what needs a person, the latest first: drift, refused lists and batches, failed retraining, reviews."""
    return await _page(call, "/v1/alerts", lambda reports, wanted: reports.alerts(wanted), AlertPage)


async def _page(
    call: Call,
    path: str,
    report: Callable[["ReportReader", Paging], Awaitable[list[_Entry]]],
    page: Callable[[list[_Entry], str | None], Any],
) -> Reply:
    query = _PAGES.parse(call.query)
    with answered():
        found = await report(operators(call).reports, part(query))
    following, headers = next_page(path, query, len(found))
    return Reply(orjson.dumps(page(found[: page_size(query)], following)), headers=headers)


add_hot_route(router, "/v1/placements", placements, (), Placements, "admin")
add_hot_route(router, "/v1/champion", champion, (), ChampionReport, "admin")
add_hot_route(router, "/v1/ledger", ledger, PAGING, LedgerPage, "admin")
add_hot_route(router, "/v1/drift", drift, PAGING, DriftPage, "admin")
add_hot_route(router, "/v1/alerts", alerts, PAGING, AlertPage, "admin")
