"""All versions of the rules, and the return to one of them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from serving.shop.client.api import ApiDownError
from serving.shop.operators.answers import NO_RULES, Change, StoredRules, Version, change
from serving.shop.operators.api import DEEPEST, OutdatedError, RefusedError
from serving.shop.operators.page import HOME, OperatorPage, signed_in

_PAGE: Final = 20
PATH: Final = f"{HOME}/history"
_DOWN: Final = "The recommender does not answer at the moment. Try again in a minute."
_MEANWHILE: Final = "Another version was stored meanwhile. Look at it, then decide again."


@signed_in
async def history(page: OperatorPage) -> Response:
    """Show versions with author, time and comment, the latest first."""
    return await _show(page, _offset(page.request.query_params.get("offset", "")))


@signed_in
async def undo(page: OperatorPage) -> Response:
    """Make the rules of an earlier version current again."""
    fields = await page.form()
    offset, comment = _offset(fields.get("offset", "")), fields.get("comment", "").strip()
    target, version = (_number(fields.get(name, "")) for name in ("target", "version"))
    status, errors = 422, {"comment": "State in a few words why."}
    if comment:
        try:
            stored = await page.api.undo(version, target, page.operator.name, comment)
            return RedirectResponse(f"{PATH}?saved={stored}", 303)
        except RefusedError as error:
            errors = {"comment": " ".join(fault.detail for fault in error.faults)}
        except OutdatedError:
            status, errors = 409, {"comment": _MEANWHILE}
        except ApiDownError:
            status, errors = 503, {"comment": _DOWN}
    return await _show(page, offset, status, {**errors, "target": str(target), "typed": comment})


async def _show(
    page: OperatorPage, offset: int, status: int = 200, errors: Mapping[str, str] | None = None
) -> Response:
    stored, titles = None, dict[str, str]()
    try:
        stored = await page.api.rules(_PAGE + 1, offset)
        items = {rule.subject for version in stored.versions for rule in version.rules if rule.about == "item"}
        titles = {one.item_id: one.title for one in await page.api.products(sorted(items))}
    except (ApiDownError, RefusedError):
        status = 503
    steps = [] if stored is None else steps_of(stored)
    values = {"stored": stored, "steps": steps, "titles": titles, "errors": errors or {}, "offset": offset}
    return page.show("history.html", status, following=_following(stored, offset, len(steps)), size=_PAGE, **values)


def steps_of(stored: StoredRules) -> list[Change]:
    """Return each version of a page with its changes; before the first one there were no rules."""
    versions: Sequence[Version] = [*stored.versions, NO_RULES] if stored.is_last else stored.versions
    return [change(before, after) for after, before in pairwise(versions)]


def _following(stored: StoredRules | None, offset: int, shown: int) -> int | None:
    """Return where the next page begins: the API gives fewer versions at once if they have many rules."""
    is_last = stored is None or stored.is_last or offset + shown > DEEPEST
    return None if is_last else offset + shown


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise HTTPException(400, "The form names no version.")
    return int(text)


def _offset(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0
