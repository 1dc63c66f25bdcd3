from dataclasses import replace

import numpy as np

from models.datasets.training_data import TrainingData
from models.lists.item_models import BoughtWithItem, SimilarityReasons, latent_vectors
from models.retrieval.candidate_sources import FactorSource

TITLES = ["Green tea", "Black tea", "Garden hose", "Garden rake", ""]


def shop(small) -> TrainingData:
    rows = [("ann", name, 1, str(at)) for at, name in enumerate("abcde")]
    data: TrainingData = small(rows, {"a": "FOOD|TEA", "b": "FOOD|TEA", "c": "GARDEN", "d": "GARDEN"})
    return replace(data, item_titles=np.array(TITLES))


def test_items_of_the_same_words_are_like_each_other_and_others_are_not(small) -> None:
    alike = latent_vectors(shop(small), 7)
    likeness = alike[:4] @ alike[:4].T
    np.testing.assert_allclose(np.diag(likeness), 1, rtol=1e-5)
    assert likeness[0, 1] > 2 * likeness[0, 2]
    assert likeness[2, 3] > 2 * likeness[1, 3]


def test_few_dimensions_keep_who_is_like_whom(data: TrainingData) -> None:
    whole, few = (latent_vectors(data, 7, dimensions) for dimensions in (10_000, 8))
    assert few.shape == (len(data.items), 8)
    assert few.dtype == np.float32
    for result in (whole, few):
        likeness = result @ result.T
        np.fill_diagonal(likeness, -np.inf)
        nearest = likeness.argmax(axis=1)
        assert (data.item_categories[nearest] == data.item_categories).mean() > 0.9


def test_the_same_seed_gives_the_same_vectors(data: TrainingData) -> None:
    np.testing.assert_array_equal(latent_vectors(data, 7, 8), latent_vectors(data, 7, 8))


def test_an_item_of_which_nothing_is_known_is_like_nothing(small) -> None:
    data = shop(small)
    tags = data.item_tags.tolil()
    tags[4] = 0
    alike = latent_vectors(replace(data, item_tags=tags.tocsr()), 7)
    assert np.isnan(alike[4]).all()
    assert np.isfinite(alike[:4]).all()


def test_items_without_titles_and_tags_have_no_similar_ones(small) -> None:
    bare = shop(small)
    rules = replace(bare.item_tag_rules, names=np.empty(0, dtype=np.str_))
    no_items = {"item_titles": np.full(len(TITLES), ""), "item_tags": bare.item_tags[:, :0], "item_tag_rules": rules}
    vectors = latent_vectors(replace(bare, **no_items), 7)
    everything = np.arange(len(TITLES))
    result = FactorSource(vectors, vectors).restrict_to(everything.astype(np.int32)).fetch(everything, 3)
    assert (result.items == -1).all()


NAMES = ["Green TEA light", "Black tea, light", "Garden hose", "Hose 12 to", "Hose 12 to", "X"]


def entries(small, paths: dict[str, str]) -> list[str]:
    data = small([("ann", name, 1, str(at)) for at, name in enumerate("abcdef")], paths)
    reasons = SimilarityReasons.fit(replace(data, item_titles=np.array(NAMES)))
    codes, texts = reasons.reasons(np.array([0, 2, 3, 0, 5]), np.array([1, 3, 4, 2, 5], np.int32))
    return [texts[code] for code in codes.tolist()]


def test_a_category_that_both_have_goes_before_words_that_both_have(small) -> None:
    result = entries(small, {"a": "FOOD|TEA", "b": "FOOD|TEA", "c": "GARDEN"})
    assert result == ["Also in tea", "Titles share: hose", "Titles share: hose", *["You may like this"] * 2]


def test_a_category_of_most_items_and_missing_ones_are_nothing_in_common(small) -> None:
    everything = entries(small, dict.fromkeys("abcdef", "Everything"))
    assert everything == entries(small, {}) == entries(small, dict.fromkeys("abcd", "Everything"))
    assert everything[0] == "Titles share: light, tea"


def test_words_are_written_as_the_titles_have_them(small) -> None:
    data = small([("ann", name, 1, str(at)) for at, name in enumerate("abcd")], {})
    titled = replace(data, item_titles=np.array(["Bohrer Größe 3", "BOHRER größe 4", "Hammer", "Hammer"]))
    codes, texts = SimilarityReasons.fit(titled).reasons(np.array([0]), np.array([1], np.int32))
    assert texts[int(codes[0])] == "Titles share: bohrer, größe"


def test_an_item_in_too_few_baskets_gets_weaker_evidence_after_which_none_comes_that_is_stronger(small) -> None:
    """Paint goes with tape, a day later with a cloth, and another paint with brushes; the third paint was sold once."""
    sold = [(20, 10, ("paint1", "tape")), (20, 11, ("cloth",)), (20, 10, ("paint2", "brush1")), (10, 10, ("brush2",))]
    rows = [
        (f"{'first' if 'paint1' in names or 'cloth' in names else names} {user}", name, day, f"{day}")
        for users, day, names in sold
        for user in range(users)
        for name in names
    ]
    rows += [("once", "paint3", 10, "1"), *((f"other {user}", "lamp", 10, "1") for user in range(200))]
    paths = {f"paint{number}": "X|PAINT" for number in (1, 2, 3)} | {f"brush{number}": "X|BRUSH" for number in (1, 2)}
    data = small(rows, paths | {"tape": "X|TAPE"})
    names = data.items.tolist()
    model = BoughtWithItem.fit(replace(data, item_titles=np.array([f"{name[:-1]} {name}" for name in names])))

    def listed(name: str) -> list[tuple[str, str]]:
        own = np.array([names.index(name)], np.int32)
        row, item, score = model.ranked(own)
        best = item[np.argsort(-score, kind="stable")].astype(np.int32)
        reasons = model.reasons(own[row].astype(np.int32), best)
        return [(names[one], reason) for one, reason in zip(best.tolist(), reasons, strict=True)]

    tape, brush = (f"From {one}, bought 2 times more often than usual with paint" for one in ("tape", "brush"))
    content = [("paint1", "Also in paint"), ("paint2", "Also in paint")]
    assert listed("paint3") == [("tape", tape), ("brush1", brush), ("brush2", brush), *content]
    assert listed("paint1")[:4] == [
        ("tape", "Bought 3 times more often than usual with this item"),
        ("cloth", "Bought 3 times more often than usual shortly before or after this item"),
        ("brush1", brush),
        ("brush2", brush),
    ]
    assert not {"lamp", "paint1"} & {name for name, _ in listed("paint1")}
    assert listed("lamp") == []
