from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import Engine, delete, insert, update

from infra.bundles import bundle
from infra.bundles.manifest import Origin
from infra.database.engine import engine
from infra.database.schema.schema import exclusions, items, placements, promotions, suppressions, users
from infra.keys.identity import remember
from models.datasets.dataset import Dataset
from models.errors import TailorbirdError
from models.lists.rules.layer.rule_layer import HiddenItem, layer_to_json
from models.lists.rules.placement_config import PlacementError
from models.ranking.two_stage import LogisticRegression, RegressionConfig
from serving.queries.explain import explain
from serving.queries.user_recommendations import UnknownUserError, user_list
from serving.terminal import recommendations
from tasks.scoring import batch_state
from tests.models.conftest import CUT, CUTS, make_shop
from tests.published import published
from tests.serving.operator_rules import boost, layer_of, pin, store

LISTED = 2


@pytest.fixture(scope="module")
def model() -> LogisticRegression:
    data = Dataset(CUTS, *make_shop(seed=1)).training_data(CUT)
    return LogisticRegression.fit(data, RegressionConfig(per_retriever=12), seed=0)


@pytest.fixture
def shop(database: str, tmp_path: Path, own_var: Path, model: LogisticRegression) -> Engine:  # noqa: ARG001
    """A champion, the catalogue with one item more, and lists for u000, for u001 and for a newcomer."""
    origin = Origin("v1", 0, "run")
    digest = bundle.write(tmp_path / "bundle", model, np.zeros(len(model.items), dtype=np.float32), origin)
    goods = [*model.items.tolist(), "new"]
    people = ["u000", "u001", "newcomer"]
    made = engine(database)
    with made.begin() as connection:
        rows = [{"item_id": g, "title": g, "attributes": {}, "available": True, "batch_id": "b"} for g in goods]
        connection.execute(insert(items), rows)
        held = {"dataset_version": "v1", "bundle": str(tmp_path / "bundle"), "digest": digest}
        row = {"kind": model.kind, "metrics": {}, "actor": "a", "reason": "r"}
        connection.execute(insert(promotions).values(previous_promotion_id=0, model_version=1, **held, **row))
        remember(connection, pa.table({"user_id": [f"raw {name}" for name in people], "user_key": people}))
        agreed = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
        connection.execute(insert(users), [{"user_key": name, **agreed} for name in people])
    best = [model.items[place] for place in np.argsort(-model.scores(np.zeros(1, dtype=np.int32))[0])[:LISTED]]
    first, second = (float(score) for score in sorted(model.scores(np.zeros(1, dtype=np.int32))[0])[:-3:-1])
    lists = {key: [(str(best[0]), first, "why"), (str(best[1]), second, "so")] for key in people}
    published(made, lists, batch_state.BatchSpec("home", "run", 1, "v1", LISTED))
    return made


def ranked(model: LogisticRegression) -> list[str]:
    """Return the items with a score of the model for u000, the best first."""
    scores = model.scores(np.zeros(1, dtype=np.int32))[0]
    return [str(model.items[place]) for place in np.argsort(-scores) if np.isfinite(scores[place])]


def test_an_item_on_the_list_is_explained_by_its_place_reason_and_contributions(shop: Engine, model) -> None:
    best = ranked(model)[0]
    explained = explain(shop, "raw u000", best)
    assert (explained["why"], explained["rank"], explained["reason"]) == ("Place 1 of 2.", 1, "why")
    score = model.scores(np.zeros(1, dtype=np.int32))[0, list(model.items).index(best)]
    assert 1 / (1 + np.exp(-sum(explained["contributions"].values()))) == pytest.approx(score, rel=1e-4)


def test_an_item_below_the_lists_end_is_explained_by_its_place_among_available_items(shop: Engine, model) -> None:
    order = ranked(model)
    explained = explain(shop, "raw u000", order[4])
    assert explained["why"] == "It would stand at place 5, and the list has 2."
    assert explained["contributions"]
    with shop.begin() as connection:
        connection.execute(update(items).where(items.c.item_id == order[3]).values(available=False))
    assert "place 4," in explain(shop, "raw u000", order[4])["why"]
    assert explain(shop, "raw u000", order[3])["why"] == "The catalogue marks the item as no merchandise."


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"in_stock": False}, "The item is out of stock."),
        ({"available_from": datetime(2999, 1, 1, tzinfo=UTC)}, "The item is not released before 2999-01-01 00:00 UTC."),
        ({"available_until": datetime(2020, 1, 1, tzinfo=UTC)}, "The sale of the item ended at 2020-01-01 00:00 UTC."),
    ],
)
def test_an_item_that_cannot_be_bought_now_is_neither_shown_nor_counted(
    shop: Engine, model: LogisticRegression, change: dict[str, Any], why: str
) -> None:
    first, second, *_ = ranked(model)
    with shop.begin() as connection:
        connection.execute(update(items).where(items.c.item_id == first).values(change))
        connection.execute(update(items).where(items.c.item_id == second).values(url="https://shop/2", image="/2.png"))
    assert explain(shop, "raw u000", first)["why"] == why
    shown = [(row["item_id"], row["url"], row["image"]) for row in user_list(shop, "raw u000")]
    assert shown == [(second, "https://shop/2", "/2.png")]


def test_places_are_those_of_the_published_list_where_an_item_sold_out(
    shop: Engine, model: LogisticRegression, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = ranked(model)
    with shop.begin() as connection:
        connection.execute(update(items).where(items.c.item_id == first).values(in_stock=False))
    explained, rows = explain(shop, "raw u000", second), user_list(shop, "raw u000")
    assert (explained["rank"], explained["why"]) == (2, "Place 2 of 2.")
    assert [row["rank"] for row in rows] == [2]
    recommendations.print_user_list("raw u000", rows)
    assert "Not shown, as the item cannot be bought now: place 1." in capsys.readouterr().out


def test_an_item_that_is_no_candidate_or_unknown_to_the_model_is_explained_as_such(shop: Engine, model) -> None:
    other = next(name for name in model.items.tolist() if name not in ranked(model))
    assert "not among the candidates" in explain(shop, "raw u000", other)["why"]
    assert "does not know the item" in explain(shop, "raw u000", "new")["why"]
    assert "was not trained on this user" in explain(shop, "raw newcomer", ranked(model)[4])["why"]


def test_an_item_that_a_rule_keeps_off_is_explained_by_the_rule(
    shop: Engine, model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, later = ranked(model)[0], ranked(model)[4]
    own = tmp_path / "placements.toml"
    own.write_text(f'[home]\nrules.exclude = {{ items = ["{later}"] }}\n')
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(own))
    assert explain(shop, "raw u000", later)["why"].startswith("The rules of 'home' leave the item out")
    monkeypatch.delenv("TAILORBIRD_PLACEMENTS")
    with shop.begin() as connection:
        connection.execute(insert(exclusions).values(user_key="u000", kind="item", value=later))
    assert explain(shop, "raw u000", later)["why"] == f"The user is never shown the item {later!r}."
    with shop.begin() as connection:
        connection.execute(delete(placements))
    second = float(sorted(model.scores(np.zeros(1, dtype=np.int32))[0])[-2])
    published(shop, {"u000": [(ranked(model)[1], second, "so")]}, batch_state.BatchSpec("home", "other", 1, "v1", 1))
    assert explain(shop, "raw u000", first)["why"].startswith("An action of the user keeps it off")


def test_a_user_who_withdrew_or_is_suppressed_has_no_list_and_is_not_explained(shop: Engine, model) -> None:
    with shop.begin() as connection:
        connection.execute(update(users).where(users.c.user_key == "u000").values(consent=False))
        connection.execute(insert(suppressions).values(user_key="u001", reason="erasure"))
    for user in ("raw u000", "raw u001"):
        explained = explain(shop, user, ranked(model)[0])
        assert explained["why"].endswith("consent is missing or was refused, or the user is suppressed.")
        assert explained["contributions"] == {}


def test_users_items_and_placements_that_do_not_exist_are_refused_by_name(shop: Engine, model) -> None:
    with pytest.raises(UnknownUserError, match="No user 'nobody' is stored"):
        explain(shop, "nobody", ranked(model)[0])
    with pytest.raises(TailorbirdError, match="No catalogue names an item 'nothing'"):
        explain(shop, "raw u000", "nothing")
    with pytest.raises(PlacementError, match="There is no placement 'basket'; there are home"):
        explain(shop, "raw u000", ranked(model)[0], "basket")
    with pytest.raises(TailorbirdError, match="Next: `tailorbird"):
        explain(shop, "raw u000", ranked(model)[0], "email")
    with shop.begin() as connection:
        connection.execute(delete(placements))
    with pytest.raises(TailorbirdError):
        explain(shop, "raw u000", ranked(model)[0])


def test_the_id_of_a_variant_explains_its_item(shop: Engine, model: LogisticRegression) -> None:
    first = ranked(model)[0]
    sizes = update(items).where(items.c.item_id == first).values(attributes={"variant_ids": f"{first} S\n{first} M"})
    with shop.begin() as connection:
        connection.execute(sizes)
    assert explain(shop, "raw u000", f"{first} M") == explain(shop, "raw u000", first)


def test_rules_of_operators_about_an_item_are_named_with_their_author(shop: Engine, model: LogisticRegression) -> None:
    first, second, third, *_ = ranked(model)
    published_layer = layer_of(HiddenItem(item=third), boost(first, 2.0))
    best = {"u000": [(first, 0.9, "why"), (second, 0.8, "so")]}
    recorded = {"rules_version": 1, "operator_rules": layer_to_json(published_layer)}
    published(shop, best, batch_state.BatchSpec("home", "later", 1, "v1", LISTED, **recorded))
    store(shop, HiddenItem(item=third), pin(second))
    hidden = explain(shop, "raw u000", third)
    assert (hidden["why"], hidden["rules"]) == (
        "Operators hide the item.",
        [f"Item {third!r} is hidden in all placements, by ann on 2026-11-29."],
    )
    assert explain(shop, "raw u000", first)["rules"] == [
        f"Item {first!r} is boosted by 2 in home, by ann on 2026-11-29; it counted when the list was made."
    ]
    (added,) = explain(shop, "raw u000", second)["rules"]
    assert added.startswith(f"Item {second!r} is pinned to place 1 of home, by ann on 2026-11-29; the API's answers")
