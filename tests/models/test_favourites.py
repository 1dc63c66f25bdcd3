import numpy as np

from models.favourites import KEPT, favourites, named_categories


def test_a_category_is_called_by_its_second_level_in_small_letters() -> None:
    paths = np.array(["GROCERY|FROZEN PIZZA|THIN", "Phones", "", "GROCERY||X", "|", "Tech|TVs and hi-fi"])
    names, position = named_categories(paths)
    assert names.tolist() == ["Phones", "TVs and hi-fi", "frozen pizza", "grocery"]
    assert position.tolist() == [2, 0, -1, 3, -1, 1]


def test_no_item_with_a_category_gives_no_names() -> None:
    names, position = named_categories(np.array(["", ""]))
    assert len(names) == 0
    assert position.tolist() == [-1, -1]


def test_favourites_are_the_categories_bought_most(small) -> None:
    rows = [("a", "x", 1, "1"), ("a", "x", 2, "2"), ("a", "y", 3, "3"), ("b", "y", 3, "4"), ("c", "z", 3, "5")]
    data = small(rows, {"x": "TEA", "y": "CAKE"})
    names, position = named_categories(data.item_categories)
    best = favourites(data, position)
    assert best.shape == (3, KEPT)
    assert [[names[c] for c in row if c >= 0] for row in best] == [["tea", "cake"], ["cake"], []]
