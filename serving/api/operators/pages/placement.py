"""The page of one placement: its rules, a draft of changes, a preview of both, and the steps of an edit."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import Response

from models.lists.rules.layer.rule_layer import NO_RULES, NO_VERSION, AnyRule, RuleLayer, RuleVersion
from models.lists.rules.layer.validation import Conflict
from serving.answers.catalogue_search import CatalogueQuery
from serving.api.operators.pages.moves import Moves, moves
from serving.api.operators.pages.page import DEEPEST, DOWN, HOME, OperatorPage, Show, go
from serving.api.operators.pages.rules import (
    ACTS,
    MOST_CHANGES,
    Change,
    Draft,
    RuleError,
    Typed,
    choices,
    item_of,
    key,
    read_draft,
    refusal,
    rule_at,
    with_words,
    words,
)
from serving.api.operators.router import answered
from serving.api.replies.lists import list_request
from serving.api.requests.problems import ProblemError
from serving.api.requests.values import ListQuery
from serving.api.state import USERS, kind_of
from serving.events.clock import CLOCK
from serving.http.safe_pages import FORGED
from serving.operations.reports import PlacementReport
from serving.stores.catalogue import Item

if TYPE_CHECKING:
    from serving.operations.rule_changes import Preview

_FOUND: Final = 8
_LONGEST_LIST: Final = 50
_FIELDS: Final[Mapping[str, str]] = {"item": "about", "value": "about", "kind": "about", "placement": "act"}
"""The fields of the form for members of a rule that are called otherwise."""
_RULE_FIELDS: Final = {"about", "act", "place", "factor", "until"}
_FULL: Final = f"A draft holds {MOST_CHANGES} changes. Save it, and begin another one."
_NOTHING: Final = "The draft is empty. Add or remove a rule first."
_GONE: Final = "That rule does not count any more."
_NO_PRODUCT: Final = "No product has such an id or title. Try fewer words, or the beginning of a word."
_OUTDATED: Final = "Nothing was stored. Look at the other change above, then save again, or take changes back."
_NO_COMMENT: Final = "State in a few words why the rules change."


@dataclass
class View:
    """All that the page shows. A step of an edit fills in what it found."""

    name: str
    draft: Draft
    typed: Typed = field(default_factory=Typed)
    errors: dict[str, str] = field(default_factory=dict)
    """A sentence for each field with a fault."""
    report: PlacementReport | None = None
    """None while the database is down."""
    current: RuleVersion = NO_VERSION
    conflicts: Sequence[Conflict] = ()
    others: Change | None = None
    """What other people stored since the draft was begun."""
    preview: "Preview | None" = None
    draft_conflicts: Sequence[Conflict] = ()
    subject: str = ""
    """The title of the product whose list the preview shows."""
    found: Sequence[Item] = ()
    items: dict[str, Item] = field(default_factory=dict)
    """The products of the preview."""
    titles: dict[str, str] = field(default_factory=dict)
    status: int = 200

    @property
    def own_rules(self) -> RuleLayer:
        """Return the current rules that count for this placement."""
        return self.current.layer.of(self.name)

    @property
    def edited(self) -> RuleLayer:
        """Return all rules with the changes of the draft."""
        return self.draft.applied(self.current.layer)

    @property
    def moves(self) -> tuple[Moves, Moves]:
        """Return what the draft changes: on the current list, and on the edited one."""
        if self.preview is None:
            return {}, {}
        before, after = (layer.at(self.name, CLOCK.now()) for layer in (self.current.layer, self.edited))
        return moves(self.preview, before, after, self.items)

    @property
    def suggestions(self) -> list[str]:
        """Return the titles that are known here, for fields that take a title."""
        return sorted({*(item.title or "" for item in self.items.values()), *self.titles.values()} - {""})

    def fail(self, place: str, detail: str, status: int = 422) -> None:
        """State a fault beside a field."""
        self.errors[place], self.status = detail, status

    def refuse(self, error: ProblemError, sent: RuleLayer = NO_RULES, added: AnyRule | None = None) -> None:
        """State why `sent` was refused: each fault beside its field, or beside the draft."""
        if error.problem.status != 422:
            self.fail("server", DOWN, error.problem.status)
            return
        for place, detail in error.problem.faults:
            rule, last = rule_at(sent, place), place.rpartition("/")[2]
            sentence = with_words(sent, detail, self.titles)
            if rule is not None and rule == added:
                self.errors.setdefault(_FIELDS.get(last, last), sentence)
            else:
                known = sentence if rule is None else f"{words(rule, self.titles)}: {sentence}"
                self.errors["draft"] = f"{self.errors.get('draft', '')} {known}".strip()
        self.status = 422


async def placement(page: OperatorPage) -> Response:
    """Show the rules of a placement, with an empty draft."""
    view = View(page.call.value, Draft(0))
    await _load(page, view)
    return await _shown(page, view)


async def titles_of(page: OperatorPage, rules: Iterable[AnyRule]) -> dict[str, str]:
    """Return the titles of the items that rules are about, as far as the catalogue has them."""
    items = await _items(page, {item: None for rule in rules if (item := item_of(rule)) is not None})
    return {name: item.title or name for name, item in items.items()}


async def _items(page: OperatorPage, names: Collection[str]) -> dict[str, Item]:
    """Return the items that the catalogue has."""
    query = CatalogueQuery(len(names), items=tuple(names))
    found = await page.call.state.parts.answers.find(query) if names else ()
    return {one.item.item_id: one.item for one in found}


async def _subject(page: OperatorPage, view: View) -> str:
    """Return the product whose list is shown: by its id, its title, or words of the title."""
    typed, found = view.typed.item, await _items(page, [view.typed.item])
    if not found:
        same = await page.call.state.parts.answers.find(CatalogueQuery(_FOUND, text=typed))
        found = {one.item.item_id: one.item for one in sorted(same, key=lambda one: one.item.title != typed)}
    if not found:
        view.fail("item", _NO_PRODUCT)
        return typed
    item = next(iter(found.values()))
    view.subject = view.titles[item.item_id] = item.title or item.item_id
    return item.item_id


async def _load(page: OperatorPage, view: View) -> None:
    """Read report, rules and titles. While the database is down, the page shows the draft alone."""
    changes = page.parts.changes
    try:
        with answered():
            reports, stored = await asyncio.gather(page.parts.reports.placements(), changes.history(1, 0))
            view.current, view.conflicts = stored.current, await changes.conflicts(stored.current.layer)
            if view.draft and view.draft.base != view.current.version:
                view.others = await _others(page, view)
    except ProblemError as error:
        view.refuse(error)
        return
    view.draft = replace(view.draft, base=view.current.version)
    view.report = next((one for one in reports if one.placement == view.name), None)
    if view.report is None:
        raise HTTPException(404, "There is no such placement.")
    rules = *view.draft.added, *view.own_rules, *(view.others.removed if view.others else ())
    view.titles |= await titles_of(page, rules)


async def _others(page: OperatorPage, view: View) -> Change:
    """Return what was stored since the draft was begun. Another version may be stored while these are read."""
    base = view.draft.base
    read = await page.parts.changes.history(2, min(max(view.current.version - base, 0), DEEPEST))
    before = NO_VERSION if base == 0 else next((one for one in read.versions if one.version == base), view.current)
    return Change.between(before, view.current)


async def _look(page: OperatorPage, view: View, added: AnyRule | None = None) -> bool:
    """Fill in the lists of the preview; return whether the draft could be stored."""
    report, item, user = view.report, view.typed.item, view.typed.user
    if report is None or (report.subject == "item" and not item):
        return True
    for name, text in (("user", user), ("item", item)):
        if text and (why := refusal(text)):
            view.fail(name, why)
    if item and "item" not in view.errors:
        item = await _subject(page, view)
    configured = page.call.state.placements.get(view.name)
    if configured is None or view.errors.keys() & {"user", "item"}:
        return False
    kind, edited = kind_of(configured), view.edited if view.draft else None
    query = ListQuery(view.name, k=min(max(report.k, 1), _LONGEST_LIST))
    try:
        asked = list_request(page.call.state, query, user or None, kind)
        with answered():
            view.preview = await page.parts.previews.preview(asked, None if kind == USERS else item, edited)
            view.draft_conflicts = () if edited is None else await page.parts.changes.conflicts(edited)
        lists = (view.preview.current, *([view.preview.edited] if view.preview.edited else ()))
        view.items = await _items(page, {one.item_id: None for listed in lists for one in listed.items})
    except ProblemError as error:
        view.refuse(error, edited or NO_RULES, added)
        return error.problem.status != 422
    return True


async def _find(page: OperatorPage, view: View) -> None:
    """Fill in the products for the words that were typed."""
    if not view.typed.q:
        return
    if why := refusal(view.typed.q):
        view.fail("q", why)
        return
    found = await page.call.state.parts.answers.find(CatalogueQuery(_FOUND, text=view.typed.q))
    view.found = [one.item for one in found]
    view.titles |= {item.item_id: item.title or item.item_id for item in view.found}


async def _shown(page: OperatorPage, view: View) -> Response:
    draft = view.draft.written(page.parts.sign_ins.draft_secret)
    return await page.show("placement.html", view.status, view=view, draft=draft, acts=ACTS, choices=choices)


async def _search(_: OperatorPage, view: View, __: Mapping[str, str]) -> None:
    if not view.typed.q:
        view.fail("q", "Type words of the product's title.")


async def _add(page: OperatorPage, view: View, _: Mapping[str, str]) -> None:
    """Add the rule of the form, if it could be stored."""
    try:
        rule = view.typed.rule(view.name)
    except RuleError as error:
        view.errors.update(error.errors)
        view.status = 422
        return
    if view.draft.is_full:
        view.fail("draft", _FULL)
        return
    before, view.draft = view.draft, view.draft.adding(rule)
    typed, item = view.typed, item_of(rule)
    if view.report is not None and view.report.subject == "item" and not typed.item and item is not None:
        view.typed = replace(typed, item=item)  # any item's list checks the rule
    if not await _look(page, view, rule) and view.errors.keys() & _RULE_FIELDS:
        view.draft = before
    view.typed = typed


async def _remove(_: OperatorPage, view: View, fields: Mapping[str, str]) -> None:
    found = [rule for rule in view.current.layer if key(rule) == fields.get("rule")]
    if view.draft.is_full or not found:
        view.fail("draft", _FULL if view.draft.is_full else _GONE)
        return
    view.draft = view.draft.removing(found[0])


def _move(step: int) -> "_Step":
    """Return the step that moves a pin by so many places; it changes places with a pin that is there."""

    async def move(_: OperatorPage, view: View, fields: Mapping[str, str]) -> None:
        pins = view.edited.pins
        pin = next((one for one in pins if key(one) == fields.get("rule")), None)
        if view.draft.is_full or pin is None:
            view.fail("draft", _FULL if view.draft.is_full else _GONE)
        else:
            view.draft = view.draft.moving(pin, max(pin.place + step, 1), pins)

    return move


async def _take_back(_: OperatorPage, view: View, fields: Mapping[str, str]) -> None:
    view.draft = view.draft.without(fields.get("rule", ""))


async def _preview(_: OperatorPage, __: View, ___: Mapping[str, str]) -> None:
    """Leave the draft as it is: each step shows the preview."""


async def _save(page: OperatorPage, view: View, _: Mapping[str, str]) -> int | None:
    """Store the draft; return the new version. Rules that another person stored meanwhile are shown first."""
    if not view.draft:
        view.fail("draft", _NOTHING)
    if why := refusal(view.typed.comment):
        view.fail("comment", why if view.typed.comment else _NO_COMMENT)
    if view.others is not None:
        view.fail("draft", _OUTDATED, 409)
    if view.errors:
        return None
    sent = view.edited
    try:
        with answered():
            return (await page.parts.changes.save(sent, view.draft.base, page.author(view.typed.comment))).version
    except ProblemError as error:
        if error.problem.status != 409:
            view.refuse(error, sent)
            return None
    await _load(page, view)
    view.fail("draft", _OUTDATED, 409)
    return None


_Step = Callable[[OperatorPage, View, Mapping[str, str]], Awaitable[int | None]]


def _form(step: _Step) -> Show:
    async def show(page: OperatorPage) -> Response:
        fields = await page.form()
        draft = read_draft(page.parts.sign_ins.draft_secret, fields.get("draft", ""))
        if draft is None:
            raise HTTPException(403, FORGED)
        view = View(page.call.value, draft, Typed.of(fields))
        await asyncio.gather(_load(page, view), _find(page, view))
        if view.report is not None:
            stored = await step(page, view, fields)
            if stored is not None:
                return go(f"{HOME}/placements/{quote(view.name, safe='')}?saved={stored}")
            if view.preview is None and "draft" not in view.errors:
                await _look(page, view)
        return await _shown(page, view)

    return show


STEPS: Final = {
    "search": _form(_search),
    "add": _form(_add),
    "remove": _form(_remove),
    "up": _form(_move(-1)),
    "down": _form(_move(1)),
    "take-back": _form(_take_back),
    "preview": _form(_preview),
    "save": _form(_save),
}
"""The forms, by the last part of their path. Only `save` stores anything."""
