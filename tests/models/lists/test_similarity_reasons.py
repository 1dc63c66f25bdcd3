from dataclasses import replace

import numpy as np

from models.lists.item_models import SimilarityReasons

TITLES = ["Green TEA light", "Black tea, light", "Garden hose", "Hose 12 to", "Hose 12 to", "X"]


def entries(small, paths: dict[str, str]) -> list[str]:
    data = small([("ann", name, 1, str(at)) for at, name in enumerate("abcdef")], paths)
    reasons = SimilarityReasons.fit(replace(data, item_titles=np.array(TITLES)))
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
