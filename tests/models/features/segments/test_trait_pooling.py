"""What becomes of the values of traits before users are grouped by them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features.segments import trait_pooling
from models.features.segments.trait_clusters import UNKNOWN, Demographics
from models.features.segments.trait_pooling import MOST_VALUES, OTHER, TraitGroups

COUNTRIES = ["United Kingdom"] * 400 + [f"Country {i}" for i in range(36) for _ in range(i + 1)]
"""37 different countries, as a wholesaler has them; the smallest have one user each."""


def fitted(values: list[str | None]) -> TraitGroups:
    return TraitGroups.fit("trait", pa.array(values, pa.string()))


def test_rare_values_of_a_trait_with_many_are_one_group_and_frequent_ones_stay() -> None:
    rule = fitted(COUNTRIES)
    groups = rule.apply(pa.array(["United Kingdom", "Country 35", "Country 0", "Atlantis", None]))
    assert groups.to_pylist() == ["United Kingdom", "Country 35", OTHER, OTHER, None]
    assert (rule.treatment, rule.values, len(rule.kept)) == ("pooled", 37, 31)
    assert rule.pooled_users == COUNTRIES.count("Country 0") + sum(i + 1 for i in range(1, 6))
    assert "37 values" in rule.sentence()


def test_a_value_of_hardly_any_user_is_pooled_even_if_there_is_room_for_it() -> None:
    rule = fitted(["a"] * 50 + ["b"] * 50 + [f"rare {i}" for i in range(40)])
    assert (rule.kept, rule.pooled_users) == (("a", "b"), 40)


@pytest.mark.parametrize("separator", ["|", ">", "/"])
def test_paths_are_cut_at_the_deepest_level_that_still_makes_few_groups(separator: str) -> None:
    paths = [separator.join((f"land {i % 2}", f"town {i % 5}", f"street {i}")) for i in range(200)]
    rule = fitted(paths)
    assert (rule.treatment, rule.levels) == ("cut", 2)
    assert pc.count_distinct(rule.apply(pa.array(paths))).as_py() == 10


def test_paths_with_too_many_first_levels_are_pooled_by_these() -> None:
    rule = fitted([f"land {min(i // 10, 40)}|town {i}" for i in range(800)])
    assert (rule.treatment, rule.levels, rule.kept[0]) == ("pooled", 1, "land 40")


def test_values_that_no_users_or_all_users_share_are_left_out() -> None:
    assert fitted([f"name {i}" for i in range(100)]).treatment == "dropped"
    assert "none of its 100 values" in fitted([f"name {i}" for i in range(100)]).sentence()
    assert fitted(["same"] * 9 + [None]).sentence() == "trait is left out: it has one value for all users."
    assert fitted([None, None]).sentence() == "trait is left out: it has no value for all users."


def test_many_numbers_stay_numbers_and_few_values_stay_as_they_are() -> None:
    ages = fitted([str(18 + i) for i in range(50)])
    assert (ages.treatment, ages.sentence()) == ("numbers", "")
    assert ages.apply(pa.array(["20", "unsaid", None])).to_pylist() == [20.0, None, None]
    codes = fitted([str(i % 3) for i in range(50)])
    assert (codes.treatment, codes.apply(pa.array(["1", "9"])).to_pylist()) == ("kept", ["1", "9"])


@given(st.lists(st.none() | st.text("ab|/>1. ", max_size=6), max_size=300))
def test_there_are_never_too_many_groups_and_no_user_loses_or_gains_a_value(values: list[str | None]) -> None:
    users = pa.table({"trait": pa.array(values, pa.string())})
    rules = trait_pooling.fit(users)
    made = trait_pooling.grouped(users, rules)
    if rules["trait"].treatment == "dropped":
        assert made.column_names == []
        return
    column = made["trait"].combine_chunks()
    if rules["trait"].treatment != "numbers":
        assert pc.count_distinct(column).as_py() <= MOST_VALUES
    assert column.is_valid().to_pylist() == [value is not None for value in values]
    again = TraitGroups.from_dict(json.loads(json.dumps(rules["trait"].as_dict())))
    assert again == rules["trait"]


def test_users_of_a_trait_with_many_values_fall_into_segments() -> None:
    people = pa.table({"user_key": [f"u{i}" for i in range(len(COUNTRIES))], "country": COUNTRIES})
    segments = Demographics.fit(people, seed=1)
    assigned = segments.assign(people)
    assert UNKNOWN not in assigned
    assert len(set(assigned)) > 1
    again = Demographics.from_state(segments.state())
    assert np.array_equal(again.assign(people), assigned)
    newcomer = pa.table({"user_key": ["n"], "country": ["Atlantis"]})
    rare = assigned[COUNTRIES.index("Country 0")]
    assert again.assign(newcomer).tolist() == [rare]
