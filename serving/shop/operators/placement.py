"""The page of one placement: its rules, a draft of changes, and a preview of both."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from starlette.exceptions import HTTPException
from starlette.responses import Response

from serving.shop.client.answers import Product
from serving.shop.client.api import ApiDownError
from serving.shop.operators.answers import NO_RULES, Change, Preview, StoredRules, Version, change
from serving.shop.operators.api import DEEPEST, Fault, RefusedError
from serving.shop.operators.draft import Draft
from serving.shop.operators.page import OperatorPage, signed_in
from serving.shop.operators.reports import PlacementReport
from serving.shop.operators.rules import Rule, rule_at, with_words
from serving.shop.operators.typed import ACTS, Typed, choices

DOWN = (
    "The recommender does not answer at the moment. Your draft stays on this page: try again in a minute. A change is "
    "never stored twice."
)
_LONGEST_LIST = 50
_FIELDS: Mapping[str, str] = {"item": "about", "value": "about", "kind": "about", "placement": "act"}
"""The fields of the form for members of a rule that are called otherwise."""


@dataclass
class View:
    """All that the page shows. A step of an edit fills in what it found."""

    name: str
    draft: Draft
    typed: Typed = field(default_factory=Typed)
    errors: dict[str, str] = field(default_factory=dict)
    """A sentence for each field with a fault."""
    report: PlacementReport | None = None
    stored: StoredRules | None = None
    others: Change | None = None
    """What other people stored since the draft was begun."""
    preview: Preview | None = None
    found: tuple[Product, ...] = ()
    titles: dict[str, str] = field(default_factory=dict)
    status: int = 200

    @property
    def current(self) -> Version:
        """Return the current version of the rules."""
        return NO_RULES if self.stored is None else self.stored.current

    @property
    def own_rules(self) -> list[Rule]:
        """Return the current rules that count for this placement."""
        return [rule for rule in self.current.rules if rule.placement in (None, self.name)]

    @property
    def edited(self) -> tuple[Rule, ...]:
        """Return all rules with the changes of the draft."""
        return self.draft.applied(self.current.rules)

    def fail(self, faults: Iterable[Fault], sent: Sequence[Rule], added: Rule | None = None) -> None:
        """Take over the faults that the API found in `sent`: each goes to its field, or beside the draft."""
        self.status = 422
        for fault in faults:
            rule, last = rule_at(sent, fault.place), fault.place.rpartition("/")[2]
            detail = with_words(sent, fault.detail, self.titles)
            if rule is not None and rule == added:
                self.errors.setdefault(_FIELDS.get(last, last), detail)
            elif rule is None and last in ("user", "item", "comment"):
                self.errors.setdefault(last, detail)
            else:
                words = detail if rule is None else f"{rule.words(self.titles)}: {detail}"
                self.errors["draft"] = f"{self.errors.get('draft', '')} {words}".strip()


@signed_in
async def placement(page: OperatorPage) -> Response:
    """Show the rules of a placement, with an empty draft."""
    view = View(page.request.path_params["name"], Draft(0))
    await load(page, view)
    return shown(page, view)


async def load(page: OperatorPage, view: View) -> None:
    """Read report, rules and titles. While the API is down, the page shows the draft alone."""
    try:
        reports, view.stored = await asyncio.gather(page.api.placements(), page.api.rules(1))
        view.report = next((one for one in reports if one.placement == view.name), None)
        if view.report is None:
            raise HTTPException(404, "There is no such placement.")
        await _compare(page, view)
        named = [*view.draft.added, *view.own_rules, *(view.others.removed if view.others else ())]
        items = dict.fromkeys(rule.subject for rule in named if rule.about == "item")
        view.titles |= {one.item_id: one.title for one in await page.api.products(list(items))}
    except (ApiDownError, RefusedError):
        down(view)


async def _compare(page: OperatorPage, view: View) -> None:
    """Find what other people stored since the draft was begun, and base the draft on the current version."""
    base, current = view.draft.base, view.current
    if view.draft and base != current.version:
        # Another version may be stored while these are read.
        before = (await page.api.rules(2, min(max(current.version - base, 0), DEEPEST))).version(base)
        view.others = change(before or current, current)
    view.draft = replace(view.draft, base=current.version)


async def look(page: OperatorPage, view: View, added: Rule | None = None) -> bool:
    """Fill in the lists of the preview; return whether the API accepts the draft."""
    if view.stored is None or view.report is None or (view.report.subject == "item" and not view.typed.item):
        return True
    edited = view.edited if view.draft else None
    length = min(max(view.report.k, 1), _LONGEST_LIST)
    try:
        view.preview = await page.api.preview(view.name, length, view.typed.user, view.typed.item, edited)
    except RefusedError as error:
        view.fail(error.faults, edited or (), added)
        return False
    except ApiDownError:
        down(view)
    return True


async def find(page: OperatorPage, view: View) -> None:
    """Fill in the products for the words that were typed."""
    if not view.typed.q:
        return
    try:
        view.found = await page.api.find(view.typed.q)
        view.titles.update((one.item_id, one.title) for one in view.found)
    except RefusedError as error:
        view.errors["q"], view.status = error.detail, 422
    except ApiDownError:
        down(view)


def down(view: View) -> None:
    """State that the API does not answer."""
    view.errors["api"], view.status = DOWN, 503


def shown(page: OperatorPage, view: View) -> Response:
    """Return the page."""
    draft = view.draft.written(page.parts.sessions.draft_secret)
    return page.show("placement.html", view.status, view=view, draft=draft, acts=ACTS, choices=choices)
