"""Explanations are counted again: each has to agree with what the user's list shows."""

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from infra.bundles import bundle as bundles
from infra.bundles import promoted
from infra.configuration.settings import load
from serving.queries import explain as explaining
from serving.queries.explain import explain
from tasks.lake.event_engine import release_shared_reads, shared_reads
from tasks.scoring.score_placement import score_placement
from tasks.scoring.single_user import available_lookups
from tests.tasks.shelves import Entry, Place, due_now, lists, purchases

USERS = 2
RULES = """
[home]
k = 8
[home.rules]
exclude = { items = ["500003"] }
hide = { purchase = 30 }
cap = { category = 3 }
cap_level = 1
pin = [{ item = "500005", place = 2 }, { item = "500007", place = 5 }]
promote = { category = ["PRODUCE"], share = 0.25 }
boost = [{ brand = ["Private"], by = 2 }]
"""
PINS = {"500005": 2, "500007": 5}
AGAIN = """
[home]
k = 6
policy = "repurchase"
[home.rules]
cap = { category = 3 }
cap_level = 1
pin = [{ item = "500005", place = 1 }]
"""


@pytest.fixture(autouse=True)
def _opened_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Open the settings, the bundle and the events once for a hundred questions."""
    opened: dict[int, bundles.Bundle] = {}

    def load_for_users(engine: Any, promotion: Any) -> bundles.Bundle:
        number = promotion["promotion_id"]
        if number not in opened:
            opened[number] = promoted.load_for_users(engine, promotion)
        return opened[number]

    monkeypatch.setattr(explaining, "load_for_users", load_for_users)
    monkeypatch.setattr(explaining, "load", cache(load))
    with shared_reads():
        yield


class Recount:
    """What the raw events, the published lists and the model hold about one user."""

    def __init__(self, stage: Any, key: str, bundle: Path) -> None:
        self.stage, self.key = stage, key
        self.list: list[Entry] = lists(stage)[key]
        with stage.here.engine.connect() as connection:
            raw = text("SELECT user_id FROM identity.users WHERE user_key = :key")
            self.user = str(connection.execute(raw, {"key": key}).scalar_one())
            rows = connection.execute(text("SELECT item_id, category, brand FROM items WHERE available")).all()
        self.goods = {row.item_id: row for row in rows}
        model = bundles.load(bundle).model
        scores = model.scores(np.flatnonzero(model.users == key).astype(np.int32))[0]
        self.scores = dict(zip(model.items.tolist(), scores.tolist(), strict=True))

    def why(self, item: str) -> str:
        result = explain(self.stage.here.engine, self.user, item, "home", available_lookups)
        return str(result["why"])

    def boosted(self, item: str) -> float:
        score, factor = float(self.scores[item]), 2 if self.goods[item].brand == "Private" else 1
        return score * factor if score >= 0 else score / factor

    def worst_by_score(self) -> float:
        """The score of the last item that stands on the list for its score alone."""
        freely = [e.item for e in self.list if e.item not in PINS and not str(e.category).startswith("PRODUCE")]
        return min(map(self.boosted, freely))


def level(category: str | None) -> str:
    return str(category).split("|")[0]


def recounts(stage: Any, bundle: Path, users: Iterable[str]) -> list[Recount]:
    return [Recount(stage, key, bundle) for key in list(users)[:USERS]]


def check_cap(result: Recount, item: str, why: str) -> None:
    named = re.search(r"the list has (\d+) of the category '(.*)' already", why)
    assert named is not None, why
    assert named[2] == level(result.goods[item].category)
    assert sum(level(entry.category) == named[2] for entry in result.list) >= int(named[1]) == 3


def test_every_item_of_a_shop_with_pins_caps_and_hidden_purchases_is_explained_as_its_list_shows(
    stage: Any, place: Place
) -> None:
    bundle = stage.promote("als")
    place(RULES)
    score_placement.fn()
    release_shared_reads()
    bought = purchases(stage)
    now = max(moments[-1] for claim in bought.values() for moments in claim.values())
    lately_by_user = {
        key: {item for item, moments in bought[key].items() if now - moments[-1] <= timedelta(days=30)}
        for key in lists(stage)
    }
    seen: set[str] = set()
    # Keys differ from one installation to the next: the users with the most purchases to hide meet every rule.
    for result in recounts(stage, bundle, sorted(lately_by_user, key=lambda key: -len(lately_by_user[key]))):
        lately = lately_by_user[result.key]
        places = {entry.item: rank for rank, entry in enumerate(result.list, 1)}
        for item in result.goods:
            why = result.why(item)
            if item in places:
                assert why.startswith(f"Place {places[item]} of {len(result.list)}")
                assert ("pinned" in why) == (PINS.get(item) == places[item])
                seen.add("pinned" if "pinned" in why else "promoted" if "promoted" in why else "listed")
            elif item == "500003":
                assert "leave the item out" in why
            elif why.startswith("A cap keeps it off"):
                check_cap(result, item, why)
                seen.add("cap")
            elif why.startswith("An action of the user"):
                assert "purchase within 30 days" in why
                assert item in lately
                seen.add("hidden")
            else:
                assert re.match(r"It would stand at place \d+, and the list has 8|All 8 places are taken", why), why
                assert result.boosted(item) <= result.worst_by_score() + 1e-6
                seen.add("full")
    assert {"pinned", "listed", "promoted", "cap", "hidden"} <= seen


def test_lists_of_what_is_due_again_are_explained_by_what_was_bought_and_when(stage: Any, place: Place) -> None:
    bundle = stage.promote("als")
    place(AGAIN)
    score_placement.fn()
    release_shared_reads()
    bought = purchases(stage)
    due, seen = due_now(bought), set()
    for result in recounts(stage, bundle, sorted(lists(stage))):
        shown = {entry.item for entry in result.list}
        for item in [one for one in result.goods if one not in shown]:
            why = result.why(item)
            if "is not due again yet" in why:
                assert item in bought[result.key].keys() - due[result.key]
                seen.add("not due")
            elif "never bought it" in why:
                assert item not in bought[result.key]
                seen.add("never bought")
            elif why.startswith("A cap keeps it off"):
                check_cap(result, item, why)
            else:
                assert re.match(r"It would stand at place \d+|All 6 places", why), why
    assert seen
