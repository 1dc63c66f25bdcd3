import numpy as np
import pyarrow as pa
import pytest

from models.datasets.training_data import TrainingData, build
from models.features.encoding.encoder import Tags
from models.features.encoding.item_tfidf import ItemVectors, Weights
from models.recommenders.content_based import Config, ContentBased

DAY = 86_400
TITLES = ["Oat milk 16 oz", "Whole milk", "Claw hammer", "Oat bread", "16 2"]
CATEGORIES = ["FOOD|DAIRY", "FOOD|DAIRY", "TOOLS", None, None]


@pytest.fixture(scope="module")
def described() -> TrainingData:
    """Five items; ann buys oat milk, and whole milk long ago, bob the hammer, cy what nothing is known of."""
    rows = [("ann", "a", 100), ("ann", "b", 10), ("bob", "c", 100), ("cy", "e", 100), ("dee", "d", 100)]
    user, item, day = zip(*rows, strict=True)
    sold = {"user_key": user, "item_id": item, "occurred_at": [d * DAY for d in day], "session_id": user}
    items = {"item_id": list("abcde"), "title": TITLES, "category": CATEGORIES, "brand": ["x", "y", "x", "y", None]}
    catalogue = pa.table({**items, "available": [True] * 5})
    users = pa.table({"user_key": sorted(set(user))})
    columns = pa.table({name: list(values) for name, values in sold.items()})
    return build(columns, users, catalogue, 101 * DAY, (), ("category", "brand"))


def vectors(data: TrainingData, **weights: float) -> np.ndarray:
    chosen = Weights(**({"title": 0.0, "category": 0.0, "attributes": 0.0} | weights))
    language = ItemVectors.fit(data.item_titles, data.item_tags, data.item_tag_rules)
    return language.vectors(data.item_titles, data.item_tags, chosen).toarray()


def requested(model: ContentBased, user: str) -> np.ndarray:
    return model.scores(np.array([model.users.tolist().index(user)], np.int32))[0]


def test_items_are_alike_by_the_words_they_share_the_rare_ones_more(described: TrainingData) -> None:
    oat_milk, whole_milk, hammer, oat_bread, empty = vectors(described, title=1.0)
    assert 0 < oat_milk @ whole_milk < 1
    assert oat_milk @ hammer == 0
    assert oat_milk @ oat_bread > 0
    assert not empty.any()
    n = len(TITLES)
    milk, once = np.log((1 + n) / 3) + 1, np.log((1 + n) / 2) + 1
    # "oat" and "milk" are each in two of the five titles, "oz", "whole" and "bread" in one.
    expected = milk * milk / (np.sqrt(2 * milk**2 + once**2) * np.sqrt(milk**2 + once**2))
    assert oat_milk @ whole_milk == pytest.approx(expected, rel=1e-5)


def test_items_of_one_category_are_alike_whatever_they_are_called(described: TrainingData) -> None:
    oat_milk, whole_milk, hammer, *_ = vectors(described, category=1.0)
    assert oat_milk @ whole_milk == pytest.approx(1)
    assert oat_milk @ hammer == 0


def test_weights_decide_between_brand_and_category(described: TrainingData) -> None:
    by_category = vectors(described, category=1.0, attributes=0.1)
    by_brand = vectors(described, category=0.1, attributes=1.0)
    assert by_category[0] @ by_category[1] > by_category[0] @ by_category[2]
    assert by_brand[0] @ by_brand[1] < by_brand[0] @ by_brand[2]


def test_a_profile_leans_to_what_was_bought_of_late(described: TrainingData) -> None:
    model = ContentBased.fit(described, Config(half_life_days=14), seed=0)
    oat_milk, whole_milk, hammer, oat_bread, _ = requested(model, "ann")
    assert oat_milk > whole_milk > hammer
    assert oat_milk > 0.95  # the whole milk has decayed to 1 %
    assert oat_bread > hammer


def test_items_of_which_nothing_is_known_are_not_scored(described: TrainingData) -> None:
    model = ContentBased.fit(described, Config(), seed=0)
    assert (requested(model, "cy") == -np.inf).all()
    assert requested(model, "ann")[4] == -np.inf


def test_scores_are_cosines(described: TrainingData) -> None:
    model = ContentBased.fit(described, Config(), seed=0)
    assert requested(model, "bob")[2] == pytest.approx(1)
    assert model.scores(np.arange(4, dtype=np.int32)).max() <= 1 + 1e-6


def test_titles_without_words_are_no_error(described: TrainingData) -> None:
    language = ItemVectors.fit(np.array(["1", ""]), described.item_tags[:2], described.item_tag_rules)
    result = language.vectors(np.array(["1", ""]), described.item_tags[:2], Weights(1, 1, 0))
    np.testing.assert_allclose(result.power(2).sum(axis=1), 1, rtol=1e-6)


def test_items_without_tags_differ_by_their_titles() -> None:
    titles, rules = np.array(["oat milk", "oat"]), Tags.fit(pa.table({}), ())
    tags = rules.encode(pa.table({"item_id": ["a", "b"]}))
    result = ItemVectors.fit(titles, tags, rules).vectors(titles, tags, Weights(1, 1, 1)).toarray()
    assert 0 < result[0] @ result[1] < 1


def test_reasons_name_a_category_with_evidence_or_claim_nothing(described: TrainingData) -> None:
    model = ContentBased.fit(described, Config(), seed=0)
    assert model.reasons(np.array([0, 0], np.int32), np.array([1, 3], np.int32)) == [
        "You bought from dairy on 2 days",
        "You may like this",
    ]
