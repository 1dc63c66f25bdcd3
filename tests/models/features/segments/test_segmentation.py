import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features.segments import trait_pooling
from models.features.segments.segmentation import PROSPECT, Rfm, Segments
from models.features.segments.trait_clusters import UNKNOWN, Demographics
from models.features.segments.trait_pooling import MOST_VALUES, OTHER, TraitGroups

COUNTRIES = ["United Kingdom"] * 400 + [f"Country {i}" for i in range(36) for _ in range(i + 1)]
"""37 different countries, as a wholesaler has them; the smallest have one user each."""


def features(rows: list[tuple[str, float | None, float | None, float | None]]) -> pa.Table:
    key, *numbers = zip(*rows, strict=True) if rows else ((), (), (), ())
    names = ("recency_days", "frequency", "monetary")
    return pa.table(
        {"user_key": pa.array(key, pa.string())}
        | {name: pa.array(column, pa.float64()) for name, column in zip(names, numbers, strict=True)}
    )


TEN = features([(f"u{i}", float(i), float(i), 10.0 * i) for i in range(11)])
"""Fifths of 0 to 10 lie at 2, 4, 6 and 8."""


def test_the_bounds_are_the_fifths_of_buyers() -> None:
    stranger = features([("x", None, 0.0, 0.0)])
    bounds = Rfm.fit(pa.concat_tables([TEN, stranger])).edges
    np.testing.assert_allclose(bounds, [[2, 4, 6, 8], [2, 4, 6, 8], [20, 40, 60, 80]])


def test_short_recency_and_much_of_the_rest_score_high_and_equal_numbers_share_the_lower_score() -> None:
    scores = Rfm.fit(TEN).scores(features([("a", 0, 10, 100), ("b", 2, 2, 20), ("c", 2.1, 2.1, 21), ("d", 99, 0, 0)]))
    assert scores.tolist() == [[5, 5, 5], [4, 1, 1], [4, 2, 2], [1, 1, 1]]


@pytest.mark.parametrize(
    ("recency", "frequency", "money", "segment"),
    [
        (0, 10, 100, "champions"),
        (0, 1, 1, "new"),
        (0, 3, 30, "promising"),
        (5, 5, 50, "loyal"),
        (5, 3, 30, "slipping"),
        (7, 7, 70, "at_risk"),
        (10, 10, 100, "cannot_lose"),
        (10, 3, 30, "lost"),
        (None, None, None, PROSPECT),
        (0, 10, None, "champions"),
    ],
)
def test_the_scores_decide_on_the_segment(
    recency: float | None, frequency: float | None, money: float | None, segment: str
) -> None:
    assert Rfm.fit(TEN).assign(features([("a", recency, frequency, money)])).tolist() == [segment]


def people(n: int = 120) -> pa.Table:
    """A third each: young singles, families in their forties, and those of whom nothing is known."""
    random = np.random.default_rng(6)
    third = np.arange(n) % 3
    ages = np.select([third == 0, third == 1], [random.integers(18, 30, n), random.integers(38, 50, n)])
    return pa.table(
        {
            "user_key": [f"u{i:03}" for i in range(n)],
            "age": pa.array([None if t == 2 else str(a) for t, a in zip(third, ages, strict=True)], pa.string()),
            "home": [("flat", "house", None)[t] for t in third],
            "postcode": [None if t == 2 else f"P{i}" for i, t in enumerate(third)],
            "planet": ["earth" if t < 2 else None for t in third],
        }
    )


def bought(n: int = 120) -> pa.Table:
    return features([(f"u{i:03}", float(i), float(n - i), 2.0 * (n - i)) for i in range(n)])


def test_users_with_like_traits_are_a_group_and_those_without_any_are_unknown() -> None:
    result = Demographics.fit(people(), seed=1).assign(people())
    assert set(result[2::3]) == {"unknown"}
    assert len(set(result[0::3])) == len(set(result[1::3])) == 1
    assert {*result[0::3], *result[1::3]} == {"group_1", "group_2"}


def test_a_number_as_text_is_a_number_and_unique_values_are_left_out() -> None:
    groups = Demographics.fit(people(150), seed=1)
    kinds = {c: e.kind for c, e in zip(groups.encoder.columns, groups.encoder.encodings, strict=True)}
    assert kinds == {"home": "one_hot", "age": "scaled"}
    codes = pa.table({"user_key": [str(i) for i in range(90)], "region": [str(i % 10) for i in range(90)]})
    assert Demographics.fit(codes, seed=1).encoder.encodings[0].kind == "one_hot"


def test_a_user_with_only_unseen_values_is_unknown() -> None:
    groups = Demographics.fit(people(), seed=1)
    odd = pa.table({"user_key": ["a", "b", "c"], "age": ["unsaid", None, "24"], "home": ["boat", "boat", "boat"]})
    assert (groups.assign(odd) == "unknown").tolist() == [True, True, False]


@pytest.mark.parametrize("known", [0, 1, 39, 40])
def test_a_group_is_never_smaller_than_the_minimum(known: int) -> None:
    homes = pa.table(
        {
            "user_key": [f"u{i}" for i in range(60)],
            "home": pa.array([None if i >= known else ("flat", "house")[i % 2] for i in range(60)], pa.string()),
        }
    )
    result = Demographics.fit(homes, seed=1).assign(homes)
    sizes = {name: int((result == name).sum()) for name in set(result)}
    assert sizes.pop("unknown", 0) in (60 - known, 60)
    assert all(size >= 20 for size in sizes.values()) or len(sizes) == 1
    assert ("group_2" in sizes) == (known == 40)


def test_the_same_seed_gives_the_same_segments_and_the_order_of_rows_does_not_matter_to_names() -> None:
    first, again = (Segments.fit(bought(), people(), seed=3) for _ in range(2))
    assert all(np.array_equal(first.state()[name], again.state()[name]) for name in first.state())
    turned = people().take(list(range(119, -1, -1)))
    assert Segments.fit(bought(), turned, seed=3).assign(bought(), people()).equals(first.assign(bought(), people()))


def test_each_known_user_has_a_row() -> None:
    segments = Segments.fit(bought(), people(), seed=1)
    result = segments.assign(bought().slice(0, 2), people().slice(1, 3).take([2, 0, 1]))
    assert result.column_names == ["user_key", "rfm", "demographic"]
    assert result["user_key"].to_pylist() == ["u000", "u001", "u002", "u003"]
    assert result["rfm"].to_pylist() == ["champions", "champions", PROSPECT, PROSPECT]
    assert result["demographic"].to_pylist()[::2] == ["unknown", "unknown"]


def test_later_users_are_held_against_the_bounds_of_the_fit() -> None:
    segments = Segments.fit(bought(), people(), seed=1)
    late = features([(f"n{i}", 500.0, 1.0, 1.0) for i in range(9)])
    assert set(segments.assign(late, people().slice(0, 0))["rfm"].to_pylist()) == {"lost"}


def test_segments_come_back_from_a_file_without_pickle(tmp_path: Path) -> None:
    segments = Segments.fit(bought(), people(), seed=1)
    np.savez(tmp_path / "segments.npz", **segments.state())
    with np.load(tmp_path / "segments.npz", allow_pickle=False) as stored:
        again = Segments.from_state(dict(stored))
    assert again.assign(bought(), people()).equals(segments.assign(bought(), people()))
    assert again.described.equals(segments.described)


def test_a_segment_is_described_by_its_size_and_what_sets_it_apart() -> None:
    described = {row["segment"]: row for row in Segments.fit(bought(), people(), seed=1).described.to_pylist()}
    assert described["champions"]["kind"] == "rfm"
    assert sum(row["users"] for row in described.values() if row["kind"] == "rfm") == 120
    assert described["lost"]["typical"] == "last purchase 96 days ago, 24 baskets, 49 spent (medians)"
    assert described["unknown"]["users"] == 40
    assert described["unknown"]["typical"] == "no trait is known"
    typical = {described[name]["typical"].split(",")[0] for name in ("group_1", "group_2")}
    assert typical == {"home=flat (100% against 50%)", "home=house (100% against 50%)"}


def test_segments_of_no_users_have_no_description() -> None:
    empty = Segments.fit(features([]), people().slice(0, 0), seed=1)
    assert empty.described.num_rows == 0
    assert empty.assign(features([]), people().slice(0, 0)).num_rows == 0
    assert Segments.from_state(empty.state()).described.equals(empty.described)


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
