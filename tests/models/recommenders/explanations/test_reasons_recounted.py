"""Reasons of models on odd little shops, each counted again from the rows that made it."""

import random
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from models.datasets.training_data import TrainingData, build
from models.lists.item_models import BoughtWithItem, SimilarityReasons
from models.lists.slot_filling import boosted
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.content_based import ContentBased
from models.recommenders.explanations.sentences import parse, together
from models.recommenders.item_based.bought_together import BoughtTogether
from models.recommenders.item_based.item_knn import ItemKNN
from tests.recount import Bought, Facts, Place, recounted

DAY = 86_400
PATHS = (None, "FOOD|TEA|GREEN", "DRUG|TEA", "Toys", "|", "GARDEN", "FOOD")
TITLES = ("", "Red mug", "Blue  mug\nbig", "Tea " * 40, "Mug é à")
MODELS = (OwnFrequency, MostPopular, ImplicitALS, ItemKNN, ContentBased)


class Odd(NamedTuple):
    """Purchases around midnight, twice in a basket, without a session, or in one that others have too."""

    data: TrainingData
    facts: Facts

    @classmethod
    def of(cls, seed: int) -> "Odd":
        draw = random.Random(seed)  # noqa: S311
        n_items, n_users, cut = draw.choice((6, 15, 40)), draw.choice((5, 12, 40)), draw.choice((401, 380, 900)) * DAY
        items = [f"i{number:02}" for number in range(n_items)]
        paths = {item: draw.choice(PATHS) for item in items}
        titles = {item: draw.choice(TITLES) + draw.choice(("", f" {item}")) for item in items}
        rows: list[tuple[str, str, int, str | None]] = []
        for user in range(n_users):
            for basket in range(draw.randrange(1, 9)):
                at = draw.randrange(400) * DAY + draw.choice((draw.randrange(DAY), DAY - 10))
                session = draw.choice((None, f"shared {basket}", *[f"{user} {basket}"] * 4))
                for item in draw.sample(items, draw.randrange(1, 5)):
                    moments = (at,) if draw.random() < 0.9 else (at, at + draw.randrange(60))
                    rows += [(f"u{user:02}", item, moment, session) for moment in moments]
        lines = [Bought(u, i, s or str(at), datetime.fromtimestamp(at, UTC)) for u, i, at, s in rows]
        facts = Facts.of(lines, datetime.fromtimestamp(cut, UTC), titles, paths)
        return cls(_data(rows, titles, paths, cut), facts)


def _data(rows: list[Any], titles: dict[str, str], paths: dict[str, str | None], cut: int) -> TrainingData:
    names = ("user_key", "item_id", "occurred_at", "session_id")
    columns: dict[str, Any] = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns["session_id"] = pa.array(columns["session_id"], pa.string())
    goods = {"item_id": list(titles), "title": list(titles.values())}
    goods["category"] = pa.array(list(paths.values()), pa.string())
    bare = pa.table(goods | {"brand": pa.nulls(len(titles), pa.string()), "available": [True] * len(titles)})
    users = pa.table({"user_key": sorted(set(columns["user_key"]))})
    return build(pa.table(columns), users, bare, cut, (), ("category", "brand"))


@pytest.mark.parametrize("seed", range(6))
def test_reasons_of_models_about_users_are_true_of_the_rows(seed: int) -> None:
    data, facts = Odd.of(seed)
    users = np.repeat(np.arange(len(data.users), dtype=np.int32), len(data.items))
    items = np.tile(np.arange(len(data.items), dtype=np.int32), len(data.users))
    for kind in MODELS:
        model: Any = kind.fit(data, kind.config_type(), 0)  # type: ignore[arg-type]
        pairs = zip(data.users[users].tolist(), data.items[items].tolist(), model.reasons(users, items), strict=True)
        assert recounted([Place(user, "", item, reason) for user, item, reason in pairs], facts)[1] == []


@pytest.mark.parametrize("seed", range(6))
def test_reasons_about_pairs_of_items_are_true_of_the_rows(seed: int) -> None:
    data, facts = Odd.of(seed)
    own, other = (part.ravel() for part in np.indices((len(data.items),) * 2))
    own, other = own[own != other], other[own != other].astype(np.int32)
    result = BoughtTogether.fit(data)
    listed = np.flatnonzero(result.lift.toarray()[own, other])
    lifts = result.lift[own[listed], other[listed]].tolist()
    entries = list(zip(listed.tolist(), map(together, lifts), strict=True))
    codes, texts = SimilarityReasons.fit(data).reasons(own, other)
    entries += [(pair, texts[code]) for pair, code in enumerate(codes.tolist())]
    ids = data.items.tolist()
    places = [Place("", ids[own[pair]], ids[other[pair]], reason) for pair, reason in entries]
    assert recounted(places, facts)[1] == []


KINDS = {"together": 0, "near_order": 1, "category_pair": 2, "same_category": 3, "same_words": 3}
"""The kinds of reasons of what goes with an item, the strongest evidence first."""


def test_items_that_go_with_an_item_come_by_their_strongest_evidence_and_boosts_keep_the_order_of_its_kinds() -> None:
    seen = set[str]()
    for seed in range(6):
        data, facts = Odd.of(seed)
        model, ids = BoughtWithItem.fit(data), data.items.tolist()
        own, item, score = model.ranked(np.arange(len(ids), dtype=np.int32))
        reasons = model.reasons(own.astype(np.int32), item.astype(np.int32))
        places = [
            Place("", ids[one], ids[other], reason) for one, other, reason in zip(own, item, reasons, strict=True)
        ]
        assert recounted(places, facts)[1] == []
        assert len({place[1:3] for place in places}) == len(places)
        assert (own != item).all()
        kinds = [parsed.kind for reason in reasons if (parsed := parse(reason))]
        kind = np.array([KINDS[name] for name in kinds])
        factor = np.random.default_rng(seed).choice(np.array([1 / 7, 1, 7], np.float32), len(ids))
        for scores in (score, boosted(score, factor[item])):
            assert (np.diff(kind[np.lexsort((-scores, own))])[np.diff(np.sort(own)) == 0] >= 0).all()
        np.testing.assert_array_equal(kind == 0, model.together.lift.toarray()[own, item] > 0)
        seen |= {*kinds}
    assert seen == KINDS.keys()
