from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import insert, text, update

from infra.bundles import bundle as bundles
from infra.database.schema.schema import items, suppressions, users
from infra.keys.identity import pseudonym
from models.datasets.cold_start import NewUsers
from models.errors import TailorbirdError
from models.lists.model_cascade import ClickPrior
from models.recommenders.explanations.sentences import parse
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.scoring.score_placement import score_placement
from tests.models.reference_ranking import top_k
from tests.tasks.ingest.events.test_ingest_segment import bought, call, viewed, write
from tests.tasks.shelves import lists

ALL = text("SELECT user_key, item_id FROM current_recommendations WHERE placement = 'home'")


def shown(stage: Any) -> dict[str, set[str]]:
    result: dict[str, set[str]] = {}
    with stage.here.engine.connect() as connection:
        for user_key, item_id in connection.execute(ALL):
            result.setdefault(user_key, set()).add(item_id)
    return result


def key_of(stage: Any, position: int) -> str:
    return pseudonym(str(stage.shop.demographics["household_id"][position].as_py()), stage.here.key)


def test_a_user_who_left_or_withdrew_consent_gets_no_list_from_then_on(stage: Any) -> None:
    stage.promote()
    score_placement.fn(k=5)
    remaining, withdrew = key_of(stage, 0), key_of(stage, 1)
    assert {remaining, withdrew} <= shown(stage).keys()
    with stage.here.engine.begin() as connection:
        connection.execute(insert(suppressions).values(user_key=remaining, reason="left"))
        connection.execute(update(users).where(users.c.user_key == withdrew).values(consent=False))
    assert score_placement.fn(k=5)["users"] == 28
    assert not {remaining, withdrew} & shown(stage).keys()


def joins(stage: Any, key: str, **traits: str) -> None:
    row = {"user_key": key, "attributes": traits, "consent": True, "consent_source": "till", "batch_id": "b"}
    with stage.here.engine.begin() as connection:
        connection.execute(insert(users).values(row))


def clicks(stage: Any, folder: Path, *products: str, **entries: Any) -> str:
    """Products that somebody views by a Segment call each; returns the user's key."""
    calls = [viewed(number, product, **entries) for number, product in enumerate(products)]
    ingest_segment.fn("segment", write(folder / "-".join(products), *calls))
    return pseudonym(str(entries.get("userId", "ann")), stage.here.key)


def reasons(stage: Any, key: str) -> list[str]:
    listed = text("SELECT reason FROM current_recommendations WHERE user_key = :key ORDER BY rank")
    with stage.here.engine.connect() as connection:
        return list(connection.execute(listed, {"key": key}).scalars())


def kinds(stage: Any, key: str) -> set[str]:
    result = [parse(reason) for reason in reasons(stage, key)]
    return {reason.kind if reason else "unknown" for reason in result}


def test_a_stranger_with_traits_gets_the_best_sellers_of_the_segment(stage: Any) -> None:
    bundle = stage.promote()
    joins(stage, "new here", age="age 1", income="income 2")
    score_placement.fn(k=5)
    assert kinds(stage, "new here") <= {"popular", "none"}
    segments = bundles.load(bundle).segments
    assert segments is not None
    best = np.argsort(-segments.popularity[1], kind="stable")[:5]
    assert shown(stage)["new here"] == set(segments.items[best].tolist())


def new_in(bundle: bundles.Bundle, key: str, *clicked: str) -> tuple[Any, NewUsers]:
    """A champion's model with a newcomer, as it is to score them."""
    rows = pa.table({"user_key": [key] * len(clicked), "item_id": list(clicked)})
    new = NewUsers.of(pa.table({"user_key": [key]}), rows, bundle.model.items)
    model: Any = bundle.model
    return model.with_users(new), new


def best(scorer: Any) -> set[str]:
    result = top_k(scorer.scores(np.zeros(1, np.int32)), 5).items[0]
    return set(scorer.items[result].tolist())


def test_a_newcomer_gets_items_that_suit_the_clicks_if_the_champion_can_score_them(stage: Any, tmp_path: Path) -> None:
    bundle = bundles.load(stage.promote("als"))
    ann = clicks(stage, tmp_path, "500006", "500007", "500006")
    score_placement.fn(k=5)
    assert kinds(stage, ann) <= {"looked_in", "looked_item"}
    model, _ = new_in(bundle, ann, "500006", "500007", "500006")
    assert shown(stage)[ann] == best(model)


@pytest.mark.parametrize("kind", ["item_knn", "content_based"])
def test_clicks_count_beside_best_sellers_if_they_are_all_that_a_champion_knows(
    stage: Any, kind: str, tmp_path: Path
) -> None:
    bundle = bundles.load(stage.promote(kind))
    ann = clicks(stage, tmp_path, "500006", "500007", "500006")
    score_placement.fn(k=5)
    model, new = new_in(bundle, ann, "500006", "500007", "500006")
    assert shown(stage)[ann] == best(ClickPrior(model, new.events, bundle.fallback)) != best(model)


def test_a_newcomer_who_returned_a_purchase_is_as_one_without_it(stage: Any, tmp_path: Path) -> None:
    stage.promote("als")
    order = {"order_id": "o1", "products": [{"product_id": "500006", "quantity": 1}]}
    calls = [bought(1, "o1", "500006"), call(2, event="Order Refunded", properties=order), viewed(3, "500050")]
    ingest_segment.fn("segment", write(tmp_path / "ann", *calls, viewed(4, "500050", userId="bob")))
    score_placement.fn(k=50)
    ann, bob = (pseudonym(name, stage.here.key) for name in ("ann", "bob"))
    own, others = ({entry.item: entry.reason for entry in lists(stage)[key]} for key in (ann, bob))
    assert "500006" not in own
    shared = own.keys() & others.keys()
    assert len(shared) >= 49
    assert {item: own[item] for item in shared} == {item: others[item] for item in shared}


def test_an_item_that_is_no_longer_available_is_no_longer_shown_nor_named_in_a_reason(stage: Any) -> None:
    stage.promote("item_knn")
    score_placement.fn(k=5)
    before = [parse(reason) for reason in reasons(stage, key_of(stage, 0))]
    named = {reason.parameters[0] for reason in before if reason and reason.kind == "bought_item"}
    assert named, "this model names items"
    with stage.here.engine.begin() as connection:
        gone = items.c.title.in_(named) | (items.c.item_id == next(iter(shown(stage)[key_of(stage, 0)])))
        marked = update(items).where(gone).values(available=False).returning(items.c.item_id)
        unavailable = {*connection.execute(marked).scalars()}
    score_placement.fn(k=5)
    assert not any(unavailable & chosen for chosen in shown(stage).values())
    after = reasons(stage, key_of(stage, 0))
    assert len(after) == 5
    assert not any(f"Because you bought {title}" in after for title in named)


def test_scoring_without_a_champion_names_the_next_command_and_without_anybody_who_agreed_is_refused(
    stage: Any,
) -> None:
    with pytest.raises(TailorbirdError, match=r"^No model is trained on data set v\S+ yet. Next: `tailorbird train`"):
        score_placement.fn()
    stage.promote()
    with stage.here.engine.begin() as connection:
        connection.execute(update(users).values(consent=False))
    with pytest.raises(TailorbirdError, match="No lists can be made"):
        score_placement.fn()
