"""What visitors decide: personal shelves or not, who they are, and what they do not want to see."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.shop.events import calls
from serving.shop.pages.baskets import picks
from serving.shop.pages.page import Page
from serving.shop.visits.visit import is_id

_ANSWERS: Final[Mapping[str, bool]] = {"yes": True, "no": False}


async def privacy(request: Request) -> Response:
    """Show what the shop stores and states, and the choice."""
    return Page.of(request).show("privacy.html")


async def decide(request: Request) -> Response:
    """Take the answer about personal shelves. A withdrawal counts from the next page on, also in the recommender."""
    page = Page.of(request)
    fields = await page.form()
    agrees = _ANSWERS.get(fields.get("answer", ""))
    if agrees is None:
        raise HTTPException(400, "The form holds no answer.")
    changed = page.visit.agreeing() if agrees else page.visit.refusing()
    who = changed if agrees else page.visit
    if agrees or page.visit.is_personal or who.household is not None:
        for call in calls.answered(who, page.agent, agrees=agrees):
            page.parts.calls.put(call)
        if not await page.parts.calls.sent(page.parts.config.budget_seconds) and not agrees:
            changed = replace(changed, note="refused-here")
    return page.go(fields.get("back", "/"), changed)


async def sign_in_page(request: Request) -> Response:
    """Show the households of the demo."""
    page = Page.of(request)
    return page.show("sign_in.html", households=page.parts.config.households)


async def sign_in(request: Request) -> Response:
    """Become a household. Clicks of this browser become those of the household."""
    page = Page.of(request)
    household = (await page.form()).get("household", "").strip()
    if not is_id(household):
        raise HTTPException(400, "The form names no household.")
    changed = page.visit.signed_in(household)
    page.track(calls.signed_in(changed, page.agent))
    return page.go("/", changed)


async def sign_out(request: Request) -> Response:
    """Become nobody again. The next person is asked about personal shelves."""
    page = Page.of(request)
    await page.form()
    return page.go("/", page.visit.signed_out())


async def not_interested(request: Request) -> Response:
    """Hide a product from all shelves of the visitor."""
    page = Page.of(request)
    fields = await page.form()
    ((item, origin), *_) = picks(fields)
    is_durable = False
    if page.visit.is_personal:
        is_durable = await page.parts.api.hide(page.visit, item, {} if origin is None else origin.stated())
    return page.go(fields.get("back", "/"), page.visit.hiding(item, "hidden" if is_durable else "hidden-here"))
