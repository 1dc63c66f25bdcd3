"""Live lists from a bundle folder alone: no database, no Redis, no MLflow, no network."""

import asyncio
import gc
import socket
import weakref
from collections.abc import Iterator
from math import inf
from typing import Any

import numpy as np
import pytest

from models.lists.rules.layer.rule_layer import HiddenItem, layered
from models.lists.rules.placement_config import Placement
from models.recommenders.explanations.sentences import parse
from serving.answers.protocol import Filters, Hidden, Listing, ListRequest, LiveUnavailableError, RankRequest, Visitor
from serving.live.live_lists import VisitorState, visitor_list
from serving.live.live_scorer import LiveListScorer
from serving.live.prepared_rules import ModelCatalogue, Prepared, RuleCache
from serving.live.visitor_facts import NO_FACTS, BatchFacts, LatestItems
from serving.model.holder import ModelHolder
from serving.model.sources import BundleFolder
from serving.stores.catalogue import Catalogue, Item
from serving.stores.lists import NOBODY, Standing
from tests.infra.golden_bundles import FOLDER, PUBLIC_KEY
from tests.models.trainable import NEEDS_TORCH, TRAINABLE
from tests.serving.bundle_folders import write_bundle
from tests.serving.operator_rules import layer_of, pin

SHELVES = {
    "home": Placement(k=10),
    "live": Placement(k=10, live=True),
    "news": Placement(k=10, policy="discover"),
    "similar-items": Placement(subject="item", method="similarity", k=6),
    "goes-well-with": Placement(subject="item", method="co_purchase", k=6),
}
ANYBODY = Visitor()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModelHolder]]:
    """A two-stage champion of an earlier version, and one that folds users in; nothing can be connected to."""
    root = tmp_path_factory.mktemp("live")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a live list connected to something")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAILORBIRD_VAR", str(root / "var"))
        patch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", PUBLIC_KEY)
        patch.delenv("TAILORBIRD_SECRET_PSEUDONYM_KEY", raising=False)
        write_bundle(root / "als")
        write_bundle(root / "item_knn", "item_knn", users=60)
        more = ["sequence"] if "sequence" in TRAINABLE else []
        for kind in more:
            write_bundle(root / kind, kind, users=60)
        patch.setattr(socket.socket, "connect", refuse)
        holders = {
            "two_stage": ModelHolder(BundleFolder(FOLDER / "format_3")),
            "als": ModelHolder(BundleFolder(root / "als")),
            **{kind: ModelHolder(BundleFolder(root / kind)) for kind in ("item_knn", *more)},
        }
        for holder in holders.values():
            assert holder.open() is not None, holder.last_failure
        yield holders


@pytest.fixture(params=["two_stage", "als"])
def scorer(models: dict[str, ModelHolder], request: Any) -> Iterator[LiveListScorer]:
    made = LiveListScorer(models[request.param], SHELVES)
    yield made
    made.close()


def ask(scorer: LiveListScorer, visitor: Visitor = ANYBODY, standing: Standing = NOBODY, **parts: Any) -> list[str]:
    listing = asyncio.run(scorer.recommend(ListRequest(parts.pop("placement", "home"), visitor, 10, **parts), standing))
    assert listing is not None
    assert all(entry.reason for entry in listing.entries)
    return ids(listing)


def ids(listing: Listing | None) -> list[str]:
    assert listing is not None
    return [entry.item_id for entry in listing.entries]


@pytest.mark.parametrize("visitor", [ANYBODY, Visitor("u000"), Visitor("stranger")], ids=str)
def test_two_items_of_the_session_change_the_answer(scorer: LiveListScorer, visitor: Visitor) -> None:
    plain = ask(scorer, visitor)
    fruit, tools = ask(scorer, visitor, context=("i02", "i05")), ask(scorer, visitor, context=("i22", "i25"))
    assert len(plain) == len(fruit) == len(tools) == 10
    assert len({tuple(plain), tuple(fruit), tuple(tools)}) == 3
    assert not {"i02", "i05"} & {*fruit}
    assert not {"i22", "i25"} & {*tools}
    assert sum("i20" <= item < "i40" for item in tools) > sum("i20" <= item < "i40" for item in fruit)


@NEEDS_TORCH
def test_the_sequence_model_reads_the_clicks_of_a_session(models: dict[str, ModelHolder]) -> None:
    scorer = LiveListScorer(models["sequence"], SHELVES)
    session = Visitor(None, "device")
    fruit, tools = (ask(scorer, session, context=tuple(f"i{kind + n:02}" for n in (2, 5, 7))) for kind in (0, 20))
    assert sum("i20" <= item < "i40" for item in tools) > sum("i20" <= item < "i40" for item in fruit)
    scorer.close()


def test_lists_differ_between_users_and_continue_on_the_next_page(scorer: LiveListScorer) -> None:
    first = ask(scorer, Visitor("u000"))
    assert first != ask(scorer, Visitor("u001"))
    assert ask(scorer, Visitor("u000"), offset=5)[:10] == first


def test_lists_that_are_ranked_together_are_those_of_each_user_alone(scorer: LiveListScorer) -> None:
    users = [Visitor(name) for name in ("u003", "stranger", "u000", "u001", "u002")]
    asked = [(ListRequest("home", one, 10, context=("i02", "i25")), NOBODY) for one in users[:4]]
    asked.append((ListRequest("home", users[4], 10), Standing(known=True, consented=True, excluded=("item:i03",))))
    alone = [asyncio.run(scorer.recommend(*one)) for one in asked]
    together = asyncio.run(scorer.recommend_all(asked))
    assert all(alone)
    assert [ids(one) for one in together] == [ids(one) for one in alone]
    scores = [[entry.score for one in lists if one for entry in one.entries] for lists in (together, alone)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def test_filters_and_exclusions_leave_items_out_and_others_take_their_places(scorer: LiveListScorer) -> None:
    first = ask(scorer, Visitor("u000"))
    standing = Standing(known=True, consented=True, excluded=(f"item:{first[0]}", "item:unheard"))
    second = ask(scorer, Visitor("u000"), standing, filters=Filters(exclude=(first[1],)))
    assert len(second) == 10
    assert second[: len(first) - 2] == first[2:]


def test_similar_items_come_from_the_bundle_and_given_ones_are_ranked_without_unknown_ones(
    scorer: LiveListScorer,
) -> None:
    request = ListRequest("similar-items", ANYBODY, 6)
    similar = ids(asyncio.run(scorer.similar("i02", request, NOBODY)))
    assert similar
    assert "i02" not in similar
    assert asyncio.run(scorer.similar("unheard", request, NOBODY)) is None
    asked = ("i30", "i03", "unheard", "i41", "i03")
    ranked = asyncio.run(scorer.rank(RankRequest("home", Visitor("u000"), asked), NOBODY))
    assert sorted(ids(ranked)) == ["i03", "i30", "i41"]


def test_a_basket_goes_with_what_the_same_users_buy(models: dict[str, ModelHolder]) -> None:
    scorer = LiveListScorer(models["item_knn"], SHELVES)
    request = ListRequest("goes-well-with", ANYBODY, 6)
    beside = ids(asyncio.run(scorer.goes_with(("i22", "i25"), request, NOBODY)))
    assert sum("i20" <= item < "i40" for item in beside) > len(beside) / 2
    own = ListRequest("goes-well-with", Visitor("u001"), 6)
    again = ids(asyncio.run(scorer.goes_with(("i22", "i25"), own, NOBODY)))
    assert again
    assert not {"i22", "i25"} & {*again}
    assert asyncio.run(scorer.goes_with(("unheard",), request, NOBODY)) is None
    scorer.close()
    titled = LiveListScorer(models["item_knn"], SHELVES, lambda: Batch.goods)
    listing = asyncio.run(titled.goes_with(("i22", "i25"), request, NOBODY))
    reasons = [parse(entry.reason) for entry in listing.entries] if listing else []
    assert {one and (one.kind, one.parameters[-1]) for one in reasons} == {("buyers_of", "I22"), ("buyers_of", "I25")}
    titled.close()


def test_only_requests_that_a_batch_cannot_answer_are_wanted(scorer: LiveListScorer) -> None:
    wanted = {name: scorer.wanted(ListRequest(name, ANYBODY, 10)) for name in (*SHELVES, "unheard")}
    assert [name for name, live in wanted.items() if live] == ["live"]
    assert scorer.wanted(ListRequest("home", ANYBODY, 10, context=("i02",)))


def test_requests_beyond_the_queue_are_refused_at_once(models: dict[str, ModelHolder]) -> None:
    scorer = LiveListScorer(models["als"], SHELVES, threads=1, waiting=1)

    async def many() -> list[Any]:
        asked = [scorer.recommend(ListRequest("home", ANYBODY, 10), NOBODY) for _ in range(5)]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(many())
    assert [type(answer) for answer in answers] == [Listing] * 2 + [LiveUnavailableError] * 3
    assert asyncio.run(scorer.recommend(ListRequest("home", ANYBODY, 10), NOBODY)) is not None
    scorer.close()


def item(name: str, in_stock: bool = True) -> Item:
    return Item(name, name.title(), None, None, 2.0, "EUR", "BAGS", "b", True, in_stock, -inf, inf)


class Batch:
    """Users and catalogue as a database knows them."""

    facts_of: BatchFacts | None = BatchFacts(1, withheld=("i02",), hidden=("i03", "i04"))

    goods = Catalogue.of({**{f"i{n:02}": item(f"i{n:02}", n % 2 == 0) for n in range(45)}, "newer": item("newer")}, 0.0)

    async def known(self, placement: str, user_key: str | None) -> BatchFacts | None:  # noqa: ARG002
        return self.facts_of


def test_items_that_the_batch_hides_or_that_are_not_on_sale_are_in_no_list(models: dict[str, ModelHolder]) -> None:
    known = Batch()
    scorer = LiveListScorer(models["als"], SHELVES, lambda: known.goods, known)
    shown = ask(scorer, Visitor("u000"), placement="news")
    assert all(int(item[1:]) % 2 == 0 for item in shown)
    assert not {"i02", "i04"} & {*shown}
    ranked = asyncio.run(scorer.rank(RankRequest("news", Visitor("u000"), ("newer", "i06", "i07", "i04")), NOBODY))
    assert ids(ranked) == ["i06", "newer"]
    scorer.close()


class Acts:
    """What a visitor did lately."""

    def __init__(self, *items: str, bought: tuple[str, ...] = ()) -> None:
        self.latest = LatestItems((*items, *bought), frozenset(bought))

    def maybe(self, visitor: Visitor) -> bool:  # noqa: ARG002
        return True

    async def items(self, visitor: Visitor) -> LatestItems:  # noqa: ARG002
        return self.latest


def test_an_item_bought_a_moment_ago_is_not_due_and_one_that_was_clicked_is(models: dict[str, ModelHolder]) -> None:
    known = Batch()
    known.facts_of = BatchFacts(1, due=("i02", "i04", "i06"))
    again = {"again": Placement(k=10, policy="repurchase")}

    def listed(acts: Acts) -> list[str]:
        scorer = LiveListScorer(models["als"], again, lambda: known.goods, known, acts)
        shown = ask(scorer, Visitor("u000"), placement="again")
        scorer.close()
        return shown

    assert {*listed(Acts("i04"))} == {"i02", "i04", "i06"}
    assert {*listed(Acts("i06", bought=("i04",)))} == {"i02", "i06"}
    assert listed(Acts(bought=("i02", "i04", "i06"))) == []


def test_acts_on_variants_count_for_their_items(models: dict[str, ModelHolder]) -> None:
    goods = Batch.goods.by_id
    sizes = {name: goods[name]._replace(variant_ids=f"{name} S\n{name} M") for name in ("i02", "i06")}
    catalogue = Catalogue.of(goods | sizes, 0.0)

    def listed(acts: Acts) -> Listing | None:
        scorer = LiveListScorer(models["item_knn"], SHELVES, lambda: catalogue, clicks=acts)
        shown = asyncio.run(scorer.recommend(ListRequest("home", Visitor("u000", "device"), 10), NOBODY))
        scorer.close()
        return shown

    assert listed(Acts("i02 S", "i04", "i02 M", bought=("i06 M",))) == listed(Acts("i04", "i02", bought=("i06",)))
    assert listed(Acts("i02 S")) != listed(Acts("i03"))


@pytest.mark.parametrize("user", ["u000", "stranger", None])
@pytest.mark.parametrize("kind", ["als", "item_knn"])
def test_reasons_name_purchases_as_bought_and_other_acts_as_looked_at(
    models: dict[str, ModelHolder], kind: str, user: str | None
) -> None:
    visitor = Visitor(user, "device")

    def reasons(acts: Acts) -> set[str]:
        scorer = LiveListScorer(models[kind], SHELVES, lambda: Batch.goods, clicks=acts)
        listing = asyncio.run(scorer.recommend(ListRequest("home", visitor, 20), NOBODY))
        assert listing is not None
        scorer.close()
        return {entry.reason for entry in listing.entries}

    bought = reasons(Acts(bought=("i02", "i22")))
    assert not {one for one in bought if one.startswith("Because you looked at")}
    assert {"Because you bought I02", "Because you bought I22"} & bought
    assert "Because you looked at I22" in reasons(Acts("i02", "i22"))
    mixed = reasons(Acts("i02", bought=("i22",)))
    assert not {"Because you bought I02", "Because you looked at I22"} & mixed


def test_without_the_batch_only_lists_that_do_not_need_it_are_built(models: dict[str, ModelHolder]) -> None:
    known = Batch()
    known.facts_of = None
    scorer = LiveListScorer(models["als"], SHELVES, lambda: known.goods, known)
    assert asyncio.run(scorer.recommend(ListRequest("news", Visitor("u000"), 5), NOBODY)) is None
    listing = asyncio.run(scorer.recommend(ListRequest("home", Visitor("u000"), 5), NOBODY))
    assert listing is not None
    assert (listing.degraded, listing.personal, len(listing.entries)) == (True, True, 5)
    scorer.close()


def test_items_that_the_rules_hide_are_known_for_other_lists_and_partly_without_the_database(
    models: dict[str, ModelHolder],
) -> None:
    known = Batch()
    scorer = LiveListScorer(models["als"], SHELVES, users=known)
    own, anybody = ListRequest("news", Visitor("u000"), 5), ListRequest("news", ANYBODY, 5)
    assert asyncio.run(scorer.hidden(own)) == Hidden(frozenset({"i02", "i03", "i04"}), complete=True)
    known.facts_of = None
    assert asyncio.run(scorer.hidden(own)) == Hidden(frozenset({"i02"}), complete=False)
    assert asyncio.run(scorer.hidden(anybody)) == Hidden(frozenset({"i02"}), complete=True)
    assert asyncio.run(scorer.hidden(ListRequest("home", ANYBODY, 5))) == Hidden(frozenset(), complete=False)
    scorer.close()


def test_the_rules_of_old_catalogues_do_not_stay_in_memory(models: dict[str, ModelHolder]) -> None:
    model, rules, placement = models["als"].current(), RuleCache(), SHELVES["home"]
    assert model is not None
    made = []
    for length in range(10, 110, 10):  # each length once, each under another catalogue
        now = Catalogue.of(Batch.goods.by_id, 0.0)
        made.append(weakref.ref(rules.prepared(model, now, "home", placement, length, NO_FACTS)))
    gc.collect()
    assert [one() is not None for one in made] == [False] * 6 + [True] * 4
    rules.close()


def test_parts_that_are_aligned_with_the_model_or_prepared_for_the_placement_are_used_again(
    models: dict[str, ModelHolder],
) -> None:
    model, now = models["als"].current(), Batch.goods
    assert model is not None
    known = ModelCatalogue.of(model, now)
    rules = RuleCache(known)
    assert rules.prepared(model, now, "home", SHELVES["home"], 10, NO_FACTS).catalogue is known
    later = Catalogue.of(now.by_id, 0.0)
    assert rules.prepared(model, later, "home", SHELVES["home"], 20, NO_FACTS).catalogue is not known
    rules.close()
    rules = RuleCache()
    made = rules.prepared(model, None, "home", SHELVES["home"], 20, NO_FACTS)
    assert made.under(SHELVES["home"]) is made
    other = made.under(layered(SHELVES["home"], layer_of(HiddenItem(item=str(model.items[3])))))
    assert (other.placement.k, other.builder.cascade) == (20, made.builder.cascade)
    assert np.flatnonzero(made.rules.allowed & ~other.rules.allowed).tolist() == [3]
    rules.close()


def test_rules_are_prepared_again_for_another_batch_and_not_while_the_batch_cannot_be_read(
    models: dict[str, ModelHolder],
) -> None:
    model, rules = models["als"].current(), RuleCache()
    assert model is not None

    def prepared(read: BatchFacts | None) -> Prepared:
        made = rules.prepared(model, None, "home", SHELVES["home"], 10, read)
        rules.thread.submit(lambda: None).result()  # what waits is prepared then
        return made

    first = prepared(BatchFacts(1))
    assert prepared(None) is first
    assert prepared(BatchFacts(1)) is first
    best, *_ = visitor_list(first, VisitorState())
    second = BatchFacts(2, withheld=(best.item_id,))
    assert prepared(second) is first  # requests use the earlier ones meanwhile
    assert best.item_id not in [one.item_id for one in visitor_list(first, VisitorState(batch=second))]
    assert prepared(second) is not first
    rules.close()


def test_changed_rules_count_in_the_next_list(models: dict[str, ModelHolder]) -> None:
    placements = dict(SHELVES)
    scorer = LiveListScorer(models["als"], placements)
    first = ask(scorer, Visitor("u000"))
    placements["home"] = layered(SHELVES["home"], layer_of(HiddenItem(item=first[0]), pin(first[3])))
    second = ask(scorer, Visitor("u000"))
    assert second[:3] == [first[3], first[1], first[2]]
    assert first[0] not in second
    assert ask(scorer.under(SHELVES), Visitor("u000")) == first
    assert ask(scorer, Visitor("u000")) == second
    scorer.close()
