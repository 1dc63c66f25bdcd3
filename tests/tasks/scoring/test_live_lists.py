"""Live lists are the published ones, for any placement, rules, users and catalogue."""

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from infra.configuration import placements
from infra.database.engine import database_now
from infra.database.rule_versions import current_rules
from infra.installation import current
from models.errors import TailorbirdError
from models.lists.rules.layer.rule_layer import HiddenItem, ItemBoost
from models.lists.rules.placement_config import Placement
from serving.answers.protocol import Listing, ListRequest, Visitor
from serving.live.live_scorer import LiveListScorer
from serving.live.visitor_facts import StoredUsers
from serving.model.holder import ModelHolder
from serving.model.sources import NewestPromotion
from serving.stores.catalogue import CatalogueReader
from serving.stores.lists import Standing
from serving.stores.postgres import Postgres
from serving.stores.rules import FixedRules, LayeredPlacements
from tasks.scoring.score_placement import score_placement
from tests.models.trainable import SETTINGS, marked
from tests.serving.operator_rules import pin, store
from tests.tasks.scoring.test_user_lists import clicks, joins

LISTS = text("SELECT user_key, item_id, score, reason FROM current_recommendations ORDER BY user_key, rank")
GOODS = text("SELECT item_id, title, category, brand, price, available AND in_stock IS NOT FALSE AS on_sale FROM items")
EXAMPLES = 6
KINDS: dict[str, dict[str, Any]] = {
    "own_frequency": {},
    "item_knn": {},
    "sequence": SETTINGS["sequence"],
    "two_stage": {"trees": 8, "leaves": 4, "min_child_weight": 1.0, "label_windows": 1},
}
"""Settings with which a model of each kind is learned soon."""

categories = st.sampled_from(["GROCERY", "PRODUCE", "GROCERY|AISLE 1"])
selectors = st.fixed_dictionaries(
    {}, optional={"category": st.lists(categories, min_size=1, max_size=2), "brand": st.just(["National"])}
).filter(bool)
products = st.integers(500_000, 500_059).map(str)


def rules(k: int) -> Any:
    """Rules that fit lists of k items."""
    return st.fixed_dictionaries(
        {},
        optional={
            "hide": st.just({"purchase": 60}),
            "include": selectors,
            "exclude": selectors,
            "cap": st.fixed_dictionaries({}, optional={"category": st.just(2), "brand": st.just(3)}).filter(bool),
            "lifetime_days": st.sampled_from([200.0, 340.0]),
            "boost": st.lists(selectors.map(lambda one: one | {"by": 1.5}), min_size=1, max_size=2),
            "pin": st.lists(products, min_size=1, max_size=2, unique=True).map(
                lambda items: [{"item": item, "place": place} for place, item in enumerate(items, 1)]
            ),
            "promote": selectors.map(lambda one: one | {"share": 1 / k}),
        },
    )


@st.composite
def shelves(draw: Any) -> dict[str, Any]:
    """A placement as its file has it."""
    k = draw(st.sampled_from([3, 8]))
    policy = draw(st.sampled_from(["mix", "discover", "repurchase"]))
    return {"k": k, "policy": policy, "rules": draw(rules(k))}


@st.composite
def layers(draw: Any) -> list[Any]:
    """Rules of operators for the placement."""
    items = draw(st.lists(products, max_size=4, unique=True))
    rules: list[Any] = [pin(item, place, "shelf") for place, item in enumerate(items[:2], 1)]
    rules += [HiddenItem(item=item) for item in items[2:]]
    boosted = draw(st.sampled_from([("brand", "National"), ("category", "PRODUCE"), None]))
    if boosted:
        rules.append(ItemBoost(placement="shelf", kind=boosted[0], value=boosted[1], factor=0.5))
    return rules


exclusions = st.one_of(
    st.tuples(st.just("item"), products),
    st.tuples(st.just("category"), categories),
    st.tuples(st.just("brand"), st.just("Private")),
)


@pytest.mark.parametrize("kind", marked(KINDS))
def test_live_lists_are_the_published_ones(stage: Any, kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    stage.promote(kind, settings=KINDS[kind])
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(tmp_path / "placements.toml"))
    holder = ModelHolder(NewestPromotion(stage.here.engine))
    holder.open()
    with stage.here.engine.connect() as connection:
        everybody = sorted(connection.execute(text("SELECT user_key FROM users")).scalars())

    shelves_compared: list[Any] = []

    @settings(max_examples=EXAMPLES)
    @given(
        shelf=shelves(),
        sold_out=st.lists(products, max_size=6),
        refused=st.lists(st.tuples(st.integers(0, 29), exclusions), max_size=4),
        layer=layers(),
    )
    def compare(shelf: dict[str, Any], sold_out: list[str], refused: list[Any], layer: list[Any]) -> None:
        (tmp_path / "placements.toml").write_text(_toml(shelf))
        current.cache_clear()
        _stock(stage, sold_out, [(everybody[user], *what) for user, what in refused])
        store(stage.here.engine, *layer)
        placement = _present(stage, placements.one(current().settings, "shelf"))
        with suppress(TailorbirdError):  # rules that leave too few items for any list
            score_placement.fn("shelf")
            shelves_compared.append(shelf)
        if not shelves_compared or shelves_compared[-1] is not shelf:
            return
        live = _live(holder, placement, everybody)
        with stage.here.engine.connect() as connection:
            rows = connection.execute(LISTS).all()
        for user in everybody:
            own = [row for row in rows if row.user_key == user]
            assert [entry.item_id for entry in live[user].entries] == [row.item_id for row in own]
            assert [entry.reason for entry in live[user].entries] == [row.reason for row in own]
            assert [entry.score for entry in live[user].entries] == pytest.approx(
                [row.score for row in own], rel=1e-5, abs=1e-6
            )

    compare()
    assert len(shelves_compared) > EXAMPLES / 2


def _present(stage: Any, file: Placement) -> Placement:
    """Return the placement of the API: with the current rules of operators."""
    with stage.here.engine.connect() as connection:
        rules = FixedRules(current_rules(connection), database_now(connection))
    return LayeredPlacements({"shelf": file}, rules)["shelf"]


def _live(holder: ModelHolder, placement: Any, users: list[str], name: str = "shelf") -> dict[str, Listing]:
    """Return the live list of each user, with the stores that the API has."""

    async def lists() -> list[Listing | None]:
        postgres = Postgres(str(os.environ["TAILORBIRD_DATABASE_URL"]), 2, 30.0)
        goods = CatalogueReader(postgres)
        await goods.refresh()
        scorer = LiveListScorer(holder, {name: placement}, lambda: goods.current, StoredUsers(postgres))
        try:
            asked = [ListRequest(name, Visitor(user), placement.k) for user in users]
            return [await scorer.recommend(one, await _standing(postgres, one.visitor.user_key)) for one in asked]
        finally:
            scorer.close()
            await postgres.close()

    made = asyncio.run(lists())
    return {user: listing for user, listing in zip(users, made, strict=True) if listing is not None}


async def _standing(postgres: Postgres, user_key: str | None) -> Standing:
    rows = await postgres.fetch("SELECT kind || ':' || value FROM exclusions WHERE user_key = $1", user_key)
    return Standing(known=True, consented=True, excluded=tuple(row[0] for row in rows))


def _stock(stage: Any, sold_out: list[str], refused: list[tuple[str, str, str]]) -> None:
    """Set which items are sold out, and what single users never want to see."""
    with stage.here.engine.begin() as connection:
        connection.execute(text("UPDATE items SET in_stock = NOT item_id = ANY (:items)"), {"items": sold_out})
        connection.execute(text("DELETE FROM exclusions"))
        for user, kind, value in set(refused):
            connection.execute(
                text("INSERT INTO exclusions (user_key, kind, value) VALUES (:user, :kind, :value)"),
                {"user": user, "kind": kind, "value": value},
            )


def _toml(shelf: dict[str, Any]) -> str:
    """Write the placement with inline tables, whose JSON differs from TOML in `:` alone."""

    def value(one: Any) -> str:
        if isinstance(one, dict):
            return "{" + ", ".join(f"{name} = {value(part)}" for name, part in one.items()) + "}"
        if isinstance(one, list):
            return "[" + ", ".join(map(value, one)) + "]"
        return json.dumps(one)

    return "[shelf]\n" + "".join(f"{name} = {value(part)}\n" for name, part in shelf.items())


def test_users_newer_than_the_model_get_the_list_of_their_clicks_and_traits(stage: Any, tmp_path: Path) -> None:
    stage.promote("item_knn")
    joins(stage, "by traits", age="age 1", income="income 2")
    with_clicks = clicks(stage, tmp_path, "500003", "500007", "500003", userId="new")
    score_placement.fn("home")
    holder = ModelHolder(NewestPromotion(stage.here.engine))
    holder.open()
    users = ["by traits", with_clicks]
    live = _live(holder, placements.one(current().settings, "home"), users, "home")
    with stage.here.engine.connect() as connection:
        rows = connection.execute(LISTS).all()
    for user in users:
        own = [(row.item_id, row.reason) for row in rows if row.user_key == user]
        assert len(own) == 20
        assert [(entry.item_id, entry.reason) for entry in live[user].entries] == own
