"""Placements from their file to what readers see."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import insert, select, text, update

from infra.database.schema.schema import exclusions, placements, recommendation_batches
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.errors import TailorbirdError
from models.lists.list_builder import DUE
from models.lists.rules.layer.rule_layer import HiddenItem
from models.lists.rules.placement_config import PlacementError
from models.recommenders.explanations.sentences import parse
from serving.pyfunc import _load_pyfunc
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.lake.event_engine import release_shared_reads
from tasks.scoring.score_placement import placements_to_score, report_batches, request_segment, score_placement
from tests.serving.bundle_folders import promote
from tests.serving.operator_rules import SINCE, pin, store
from tests.tasks.ingest.events.test_ingest_segment import call, write
from tests.tasks.scoring.test_explained_lists import Recount
from tests.tasks.shelves import Place, due_now, items_of, lists, purchases, why_short

PEOPLE = {"ann": True, "bob": False, "eve": True}
LISTS = text("SELECT user_id, item_id, score, reason FROM recommendations_by_user_id ORDER BY user_id, rank")


def test_items_that_were_bought_are_not_discovered(stage: Any, place: Place) -> None:
    stage.promote()
    place('[home]\nk = 20\npolicy = "discover"')
    score_placement.fn()
    shown, bought = lists(stage), purchases(stage)
    assert {len(entries) for entries in shown.values()} == {20}
    assert len(shown) == 30
    for user, chosen in items_of(shown).items():
        assert not chosen & bought.get(user, {}).keys()


@pytest.mark.parametrize("policy", ["mix", "discover", "repurchase"])
def test_an_item_is_kept_from_a_user_who_returned_every_purchase_of_it(
    stage: Any, place: Place, tmp_path: Path, policy: str
) -> None:
    bundle = stage.promote("own_frequency")
    place("[home]\nk = 5")
    score_placement.fn()
    names = [str(name) for name in stage.shop.demographics["household_id"].to_pylist()[:6]]
    keys = {name: pseudonym(name, stage.here.key) for name in names}
    first = {name: lists(stage)[key][0].item for name, key in keys.items()}
    assert all(first[name] in purchases(stage)[key] for name, key in keys.items())
    newest = max(moments[-1] for own in purchases(stage).values() for moments in own.values())
    refunds = [
        call(
            number,
            event="Order Refunded",
            userId=name,
            properties={"products": [{"product_id": item, "quantity": 1000}]},
            timestamp=(newest + timedelta(hours=1)).isoformat(),
        )
        for number, (name, item) in enumerate(first.items())
    ]
    ingest_segment.fn("segment", write(tmp_path / "refunds", *refunds))
    place(f'[home]\nk = 30\npolicy = "{policy}"')
    score_placement.fn()
    shown = items_of(lists(stage))
    for name, key in keys.items():
        assert first[name] not in shown.get(key, set())
    assert any(item in shown[key] for item in first.values() for key in shown.keys() - {*keys.values()})
    release_shared_reads()
    why = Recount(stage, keys[names[0]], bundle).why(first[names[0]])
    assert "Every purchase of the item by this user was refunded" in why


@pytest.mark.parametrize("kind", ["own_frequency", "most_popular", "als", "item_knn"])
def test_repurchase_shows_all_that_is_due_and_nothing_else_and_short_lists_state_why(
    stage: Any, place: Place, kind: str
) -> None:
    stage.promote(kind)
    place('[home]\nk = 60\npolicy = "repurchase"')
    batch = score_placement.fn()
    due = {user: chosen for user, chosen in due_now(purchases(stage)).items() if chosen}
    assert items_of(lists(stage)) == due
    assert set(why_short(stage).values()) == {DUE}
    assert batch["summary"]["short"] == {DUE: 30}


def test_items_that_single_users_do_not_want_to_see_are_kept_from_them_alone(stage: Any, place: Place) -> None:
    stage.promote()
    place("[home]\nk = 20")
    score_placement.fn()
    before = lists(stage)
    (one, two, three, *others), top = sorted(before), {user: entries[0] for user, entries in before.items()}
    given = [(one, "item", top[one].item), (two, "brand", "Private"), (three, "category", "GROCERY")]
    given += [("a stranger", "item", "500001"), (one, "item", "no such item")]
    with stage.here.engine.begin() as connection:
        names = ("user_key", "kind", "value")
        connection.execute(insert(exclusions), [dict(zip(names, row, strict=True)) for row in given])
    score_placement.fn()
    after = lists(stage)
    assert top[one].item not in {entry.item for entry in after[one]}
    assert {entry.brand for entry in after[two]} == {"National"}
    assert not [entry for entry in after[three] if str(entry.category).startswith("GROCERY")]
    assert all(after[user] == before[user] for user in others)


def test_items_have_lists_of_what_is_like_them_and_of_what_goes_with_them(stage: Any) -> None:
    stage.promote()
    alike, together = (score_placement.fn(name) for name in ("similar-items", "goes-well-with"))
    assert (alike["users"], together["users"]) == (61, 61)
    content = {"same_category", "same_words"}
    weaker = {"near_order", "category_pair", *content}
    kinds = {"similar-items": {*content, "none"}, "goes-well-with": {"together", *weaker}}
    for name, expected in kinds.items():
        shown = lists(stage, name, about="for_item_id")
        assert shown
        for item, entries in shown.items():
            assert item not in {entry.item for entry in entries}
            assert {result.kind for entry in entries if (result := parse(entry.reason))} <= expected
    assert lists(stage, "similar-items") == {}
    reasons = [[parse(entry.reason).kind for entry in entries] for entries in shown.values()]  # type: ignore[union-attr]
    places, firsts = [kind for own in reasons for kind in own], [own[0] for own in reasons]
    assert min(map(len, reasons)) > 0
    assert weaker & {*places}
    filled = {name: 1 - part.count("together") / len(part) for name, part in (("places", places), ("lists", firsts))}
    assert together["summary"]["filled"] == pytest.approx(filled, abs=1e-3)
    assert "filled" not in alike["summary"]


def test_the_same_lists_again_are_as_fresh_as_new_ones(stage: Any) -> None:
    stage.promote()
    score_placement.fn()
    with stage.here.engine.begin() as connection:
        old = text("now() - interval '5 days'")
        connection.execute(update(placements).values(published_at=old, checked_at=old))
    score_placement.fn()
    age = select(text("now() - published_at > interval '4 days'"), text("now() - checked_at < interval '1 hour'"))
    with stage.here.engine.connect() as connection:
        assert connection.execute(age.select_from(placements)).one() == (True, True)


def test_an_unknown_placement_is_refused_with_the_names_there_are(stage: Any) -> None:
    names = "home, buy-again, email, similar-items, goes-well-with"
    with pytest.raises(PlacementError, match=f"no placement 'hoem'; there are {names}"):
        score_placement.fn("hoem")
    with pytest.raises(PlacementError, match="no placement 'hoem'"):
        placements_to_score(["home", "hoem"])
    stage.promote()
    assert placements_to_score(None) == names.split(", ")


def test_a_summary_shows_what_was_kept_from_before_and_by_segment(stage: Any, place: Place) -> None:
    stage.promote()
    place("[home]\nk = 10")
    assert score_placement.fn()["summary"]["kept_from_before"] is None
    place('[home]\nk = 10\nrules.exclude = { brand = ["Private"] }')
    summary = score_placement.fn()["summary"]
    assert 0 < summary["kept_from_before"] < 1
    assert sum(row["lists"] for row in summary["segments"]) == 30
    assert all(row["full"] == row["lists"] for row in summary["segments"])


def test_rules_of_operators_are_part_of_the_lists_and_of_the_batch(stage: Any, place: Place) -> None:
    stage.promote()
    place("[home]\nk = 5")
    first = score_placement.fn()
    best = [entry.item for entry in next(iter(lists(stage).values()))]
    version = store(stage.here.engine, HiddenItem(item=best[0]), pin(best[1], 3))
    second = score_placement.fn()
    assert second["batch_id"] != first["batch_id"]
    for entries in lists(stage).values():
        assert entries[2].item == best[1]
        assert best[0] not in {entry.item for entry in entries}
    columns = select(recommendation_batches.c.rules_version, recommendation_batches.c.operator_rules)
    recorded = columns.where(recommendation_batches.c.batch_id == second["batch_id"])
    with stage.here.engine.connect() as connection:
        row = connection.execute(recorded).one()
    assert row.rules_version == version
    assert [hide["author"] for hide in row.operator_rules["hides"]] == ["ann"]
    ending = HiddenItem(item=best[0], until=SINCE + timedelta(days=36_500))
    later = store(stage.here.engine, ending, pin(best[1], 3))
    assert score_placement.fn()["batch_id"] == second["batch_id"]
    with stage.here.engine.connect() as connection:
        row = connection.execute(recorded).one()
    assert (row.rules_version, "until" in row.operator_rules["hides"][0]) == (later, True)
    store(stage.here.engine)
    assert score_placement.fn()["batch_id"] == first["batch_id"]


def batch(placement: str) -> dict[str, Any]:
    entries = {"placement": placement, "batch_id": 1, "model_version": 1, "users": 1, "recommendations": 1}
    return entries | {"status": "published", "summary": {}}


def test_all_refusals_are_reported_at_once_with_the_placements_that_are_shown_and_a_defect_stays_one() -> None:
    made = [batch("home"), TailorbirdError("Email is odd."), batch("buy-again"), TailorbirdError("Items are few.")]
    with pytest.raises(TailorbirdError, match=r"Email is odd\. Items are few\. Placements .*: home, buy-again\."):
        report_batches(made)
    once = [TailorbirdError("No model was promoted yet.") for _ in range(5)]
    with pytest.raises(TailorbirdError, match=r"^No model was promoted yet\. Placements .*: none\.$"):
        report_batches(once)
    with pytest.raises(ZeroDivisionError):
        report_batches([batch("home"), TailorbirdError("Email is odd."), ZeroDivisionError()])


def test_users_of_a_segment_who_consent_are_asked_for_if_a_placement_is_live(
    installation: Installation, tmp_path: Path, place: Place
) -> None:
    promote(installation.engine, tmp_path, "digest", version=1)
    with installation.engine.begin() as connection:
        for user, agrees in PEOPLE.items():
            values = {"user": user, "agrees": agrees, "rfm": "Regulars" if user != "eve" else "Guests"}
            for statement in (
                "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
                "VALUES (:user, '{}', :agrees, 'form', 'b')",
                "INSERT INTO segments VALUES ('v1', :user, :rfm, 'age 1')",
                "INSERT INTO segment_descriptions VALUES ('v1', 'rfm', :rfm, 1, '', '') ON CONFLICT DO NOTHING",
            ):
                connection.execute(text(statement), values)
    with pytest.raises(TailorbirdError, match="No placement has live = true"):
        request_segment.fn("Regulars")
    place("[home]\nlive = true\n[email]\n")
    with pytest.raises(TailorbirdError, match="knows no segment 'Nobody'; there are Guests, Regulars"):
        request_segment.fn("Nobody")
    assert request_segment.fn("Regulars") == {"segment": "Regulars", "users": 1, "placements": ["home"]}
    with installation.engine.connect() as connection:
        assert connection.execute(text("SELECT user_key, bulk FROM rescoring_requests")).all() == [("ann", True)]


@pytest.mark.parametrize("kind", ["own_frequency", "most_popular", "two_stage"])
def test_the_model_alone_answers_every_user_as_the_published_lists_do(stage: Any, kind: str) -> None:
    model = _load_pyfunc(str(stage.promote(kind)))
    score_placement.fn(k=12)
    with stage.here.engine.connect() as connection:
        published = pd.DataFrame(connection.execute(LISTS).mappings().all())
    users = list(published["user_id"].unique())
    assert len(users) == 30
    result = model.predict(pd.DataFrame({"user": users, "k": 12}))
    assert list(result["user"]) == list(published["user_id"])
    assert list(result["item_id"]) == list(published["item_id"])
    assert list(result["reason"]) == list(published["reason"])
    assert result["score"].to_list() == pytest.approx(published["score"].astype(float).to_list(), rel=1e-5)
