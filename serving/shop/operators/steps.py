"""The steps of an edit: search, add, remove, take back, preview and save. Only the last one stores anything."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from serving.shop.client.api import ApiDownError
from serving.shop.operators.api import OutdatedError, RefusedError
from serving.shop.operators.draft import MOST_CHANGES, Draft, read_draft
from serving.shop.operators.page import HOME, OperatorPage, signed_in
from serving.shop.operators.placement import View, down, find, load, look, shown
from serving.shop.operators.typed import RuleError, Typed
from serving.shop.security.forms import FORGED

_Step = Callable[[OperatorPage, View, Mapping[str, str]], Awaitable[int | None]]
_RULE_FIELDS: Final = {"about", "act", "place", "factor", "until"}
_FULL: Final = f"A draft holds {MOST_CHANGES} changes. Save it, and begin another one."
_NO_COMMENT: Final = "State in a few words why the rules change."
_NOTHING: Final = "The draft is empty. Add or remove a rule first."
_OUTDATED: Final = "Nothing was stored. Look at the other change above, then save again, or take changes back."


async def _search(_: OperatorPage, view: View, __: Mapping[str, str]) -> None:
    if not view.typed.q:
        view.errors["q"], view.status = "Type words of the product's title.", 422


async def _add(page: OperatorPage, view: View, _: Mapping[str, str]) -> None:
    """Add the rule of the form, if the API accepts it."""
    try:
        rule = view.typed.rule(view.name)
    except RuleError as error:
        view.errors.update(error.errors)
        view.status = 422
        return
    if view.draft.is_full:
        view.errors["draft"], view.status = _FULL, 422
        return
    before, view.draft = view.draft, view.draft.adding(rule)
    typed = view.typed
    if view.report is not None and view.report.subject == "item" and not typed.item and rule.about == "item":
        view.typed = replace(typed, item=rule.subject)  # any item's list checks the rule
    if not await look(page, view, rule) and view.errors.keys() & _RULE_FIELDS:
        view.draft = before
    view.typed = replace(view.typed, item=typed.item)


async def _remove(_: OperatorPage, view: View, fields: Mapping[str, str]) -> None:
    found = [rule for rule in view.current.rules if rule.key == fields.get("rule")]
    if view.draft.is_full or not found:
        text = _FULL if view.draft.is_full else "That rule does not count any more."
        view.errors["draft"], view.status = text, 422
        return
    view.draft = view.draft.removing(found[0])


async def _take_back(_: OperatorPage, view: View, fields: Mapping[str, str]) -> None:
    view.draft = view.draft.without(fields.get("rule", ""))


async def _preview(_: OperatorPage, __: View, ___: Mapping[str, str]) -> None:
    """Leave the draft as it is: each step shows the preview."""


async def _save(page: OperatorPage, view: View, _: Mapping[str, str]) -> int | None:
    """Store the draft; return the new version. Rules that another person stored meanwhile are shown first."""
    if not view.draft:
        view.errors["draft"], view.status = _NOTHING, 422
    if not view.typed.comment:
        view.errors["comment"], view.status = _NO_COMMENT, 422
    if view.others is not None:
        view.errors["draft"], view.status = _OUTDATED, 409
    if view.errors:
        return None
    try:
        return await page.api.save(view.edited, view.draft.base, page.operator.name, view.typed.comment)
    except RefusedError as error:
        view.fail(error.faults, view.edited)
    except OutdatedError:
        await load(page, view)
        view.errors["draft"], view.status = _OUTDATED, 409
    except ApiDownError:
        down(view)
    return None


def _endpoint(step: _Step) -> Callable[..., Awaitable[Response]]:
    @signed_in
    async def endpoint(page: OperatorPage) -> Response:
        fields = await page.form()
        draft = _draft(page, fields)
        view = View(page.request.path_params["name"], draft, Typed.of(fields))
        await asyncio.gather(load(page, view), find(page, view))
        if view.stored is not None:
            stored = await step(page, view, fields)
            if stored is not None:
                return RedirectResponse(f"{HOME}/placements/{quote(view.name, safe='')}?saved={stored}", 303)
            if view.preview is None and "draft" not in view.errors:
                await look(page, view)
        return shown(page, view)

    return endpoint


def _draft(page: OperatorPage, fields: Mapping[str, str]) -> Draft:
    draft = read_draft(page.parts.sessions.draft_secret, fields.get("draft", ""))
    if draft is None:
        raise HTTPException(403, FORGED)
    return draft


STEPS: Final = {
    "search": _endpoint(_search),
    "add": _endpoint(_add),
    "remove": _endpoint(_remove),
    "take-back": _endpoint(_take_back),
    "preview": _endpoint(_preview),
    "save": _endpoint(_save),
}
"""The endpoints, by the last part of their path."""
