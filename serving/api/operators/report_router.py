"""Endpoints of reports: placements, champion, ledger, drift and alerts."""

import orjson
from fastapi import APIRouter

from serving.api.gate.call import Call, Reply
from serving.api.gate.hot_routes import add_hot_route
from serving.api.operators.answering import answered, next_page, operators, page_size, part
from serving.api.requests.list_query import QueryParser
from serving.api.requests.parameters import PAGING
from serving.operations.reports import AlertPage, ChampionReport, DriftPage, LedgerPage, Placements

router = APIRouter(tags=["operators"])
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
    query = _PAGES.parse(call.query)
    with answered():
        found = await operators(call).reports.ledger(part(query))
    following, headers = next_page("/v1/ledger", query, len(found))
    return Reply(orjson.dumps(LedgerPage(found[: page_size(query)], following)), headers=headers)


async def drift(call: Call) -> Reply:
    """Return the windows of the drift monitor, the latest first."""
    query = _PAGES.parse(call.query)
    with answered():
        found = await operators(call).reports.drift(part(query))
    following, headers = next_page("/v1/drift", query, len(found))
    return Reply(orjson.dumps(DriftPage(found[: page_size(query)], following)), headers=headers)


async def alerts(call: Call) -> Reply:
    """Return what needs a person, the latest first: drift, refused lists and batches, failed retraining, reviews."""
    query = _PAGES.parse(call.query)
    with answered():
        found = await operators(call).reports.alerts(part(query))
    following, headers = next_page("/v1/alerts", query, len(found))
    return Reply(orjson.dumps(AlertPage(found[: page_size(query)], following)), headers=headers)


add_hot_route(router, "/v1/placements", placements, (), Placements, "admin")
add_hot_route(router, "/v1/champion", champion, (), ChampionReport, "admin")
add_hot_route(router, "/v1/ledger", ledger, PAGING, LedgerPage, "admin")
add_hot_route(router, "/v1/drift", drift, PAGING, DriftPage, "admin")
add_hot_route(router, "/v1/alerts", alerts, PAGING, AlertPage, "admin")
