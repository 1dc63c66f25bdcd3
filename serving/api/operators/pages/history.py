"""All versions of the rules, and the return to one of them."""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from models.lists.rules.layer.rule_layer import NO_VERSION
from serving.api.operators.answering import answered
from serving.api.operators.pages.page import DEEPEST, HOME, OperatorPage, go, is_number
from serving.api.operators.pages.placement import titles_of
from serving.api.operators.pages.rules import Change, item_of
from serving.api.operators.pages.typed import refusal
from serving.api.requests.problems import ProblemError

if TYPE_CHECKING:
    from serving.operations.rule_changes import History

PATH: Final = f"{HOME}/history"
_PAGE: Final = 20
_NO_COMMENT: Final = "State in a few words why."
_MEANWHILE: Final = "Another version was stored meanwhile. Look at it, then decide again."


async def history(page: OperatorPage) -> Response:
    """Show versions with author, time and comment, the latest first."""
    return await _show(page, _offset(page.request.query_params.get("offset", "")))


async def undo(page: OperatorPage) -> Response:
    """Make the rules of an earlier version current again."""
    fields = await page.form()
    offset, comment = _offset(fields.get("offset", "")), fields.get("comment", "").strip()
    target, version = (_number(fields.get(name, "")) for name in ("target", "version"))
    status, why = 422, refusal(comment) if comment else _NO_COMMENT
    if not why:
        try:
            with answered():
                stored = await page.parts.changes.undo(version, target, page.author(comment))
            return go(f"{PATH}?saved={stored.version}")
        except ProblemError as error:
            faults = " ".join(fault.detail for fault in error.problem.faults)
            status, why = error.problem.status, faults or error.problem.detail
            if status == 409:
                why = _MEANWHILE
    return await _show(page, offset, status, {"comment": why, "target": str(target), "typed": comment})


async def _show(
    page: OperatorPage, offset: int, status: int = 200, errors: Mapping[str, str] | None = None
) -> Response:
    stored, steps, titles = None, list[Change](), dict[str, str]()
    try:
        with answered():
            stored = await page.parts.changes.history(_PAGE + 1, offset)
        steps = _steps(stored)
        rules = (rule for version in stored.versions for rule in version.layer)
        titles = await titles_of(page, sorted({item for rule in rules if (item := item_of(rule)) is not None}))
    except ProblemError as error:
        status = error.problem.status
    known = {"current": stored and stored.current, "steps": steps, "titles": titles, "errors": errors or {}}
    following = _following(stored, offset, len(steps))
    return await page.show("history.html", status, offset=offset, following=following, size=_PAGE, **known)


def _steps(stored: "History") -> list[Change]:
    """Return each version of a page with its changes; before the first one there were no rules."""
    versions = [*stored.versions, NO_VERSION] if stored.is_last else stored.versions
    return [Change.between(before, after) for after, before in pairwise(versions)]


def _following(stored: "History | None", offset: int, shown: int) -> int | None:
    """Return where the next page begins: fewer versions are read at once if they have many rules."""
    is_last = stored is None or stored.is_last or offset + shown > DEEPEST
    return None if is_last else offset + shown


def _number(text: str) -> int:
    if not is_number(text):
        raise HTTPException(400, "The form names no version.")
    return int(text)


def _offset(text: str) -> int:
    return min(int(text), DEEPEST) if is_number(text) else 0
