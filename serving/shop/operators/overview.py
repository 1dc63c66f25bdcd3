"""The first page of operators: all reports."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.responses import Response

from serving.shop.client.api import ApiDownError
from serving.shop.operators.api import RefusedError
from serving.shop.operators.page import OperatorPage, signed_in

_Report = TypeVar("_Report")


@signed_in
async def overview(page: OperatorPage) -> Response:
    """Show placements, alerts, drift, the ledger, and the models side by side."""
    api = page.api
    placements, models, ledger, drift, alerts = await asyncio.gather(
        _known(api.placements()), _known(api.models()), _known(api.ledger()), _known(api.drift()), _known(api.alerts())
    )
    reports = {"placements": placements, "models": models, "ledger": ledger, "drift": drift, "alerts": alerts}
    missing = [name for name, report in reports.items() if report is None]
    return page.show("overview.html", 503 if len(missing) == len(reports) else 200, missing=missing, **reports)


async def _known(report: Awaitable[_Report]) -> _Report | None:
    """Return a report; None if the API does not give it."""
    try:
        return await report
    except (ApiDownError, RefusedError):
        return None
