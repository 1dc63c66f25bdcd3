import numpy as np

from models.primitives.state import part_of, under


def test_a_part_comes_out_as_it_went_in_and_leaves_the_others_alone() -> None:
    one, other = {"a": np.arange(2), "b.c": np.arange(3)}, {"a": np.arange(4)}
    state = under("one.", one) | under("other.", other) | {"one": np.arange(5)}
    assert list(state) == ["one.a", "one.b.c", "other.a", "one"]
    result = part_of("one.", state)
    assert {name: array.tolist() for name, array in result.items()} == {"a": [0, 1], "b.c": [0, 1, 2]}
    assert part_of("none.", state) == {}
