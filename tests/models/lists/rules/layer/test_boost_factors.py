"""The factor of an item is that of the placements file's boosts with the same values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.lists.rules.compiled_rules import CompiledRules, ItemAttributes
from models.lists.rules.layer.rule_layer import ItemBoost, RuleLayer, layered
from models.lists.rules.placement_config import Placement

PATHS = ["", "A", "A|B", "A|B|C", "AB", "A|", "B"]
ITEMS = ItemAttributes(
    np.array([f"i{number:02}" for number in range(14)]),
    np.array(PATHS * 2),
    np.array(["", "acme"] * 7),
    np.full(14, np.nan),
    np.full(14, np.nan),
    np.ones(14, dtype=bool),
)
VALUES = {"item": ["i00", "i05", "gone"], "category": ["A", "A|B", "A|B|C", "AB"], "brand": ["acme", "other"]}
boosts = st.sampled_from(sorted(VALUES)).flatmap(
    lambda kind: st.builds(
        ItemBoost,
        placement=st.just("home"),
        kind=st.just(kind),
        value=st.sampled_from(VALUES[kind]),
        factor=st.sampled_from([0.5, 1.0, 3.0]),
    )
)


@given(st.lists(boosts, max_size=6))
def test_look_ups_give_the_product_of_all_boosts_that_apply(chosen: list[ItemBoost]) -> None:
    layer = RuleLayer(boosts=tuple(chosen))
    compiled = CompiledRules.of(layered(Placement(k=5), layer), ITEMS).boost.tolist()
    rows = zip(*(column.tolist() for column in (ITEMS.items, ITEMS.category, ITEMS.brand)), strict=True)
    assert [layer.factors.factor(*row) for row in rows] == pytest.approx(compiled)
