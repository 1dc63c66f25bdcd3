from typing import Any

import duckdb
import pyarrow as pa
import pytest

from expectations.datasets import (
    INTERACTIONS,
    LAKE_ROWS,
    TABLES,
    USUAL,
    Comparison,
    aggregates,
    bounds,
    figures,
    null_rises,
    range_of,
    rules,
    sample,
    sentence,
)
from expectations.rules import flags
from models.datasets.acceptance import DatasetLimits
from models.features.definitions import Feature
from models.features.segments.trait_clusters import Group, groups
from tasks.quality.suites import BatchExpectations, Candidate, judge, judge_batches, refusal

FEATURES = (
    Feature("recency_days", "time since the latest purchase", "days"),
    Feature("price_rank", "rank of its price", "0 to 1"),
    Feature("brand", "brand bought most", "name"),
)
SMALL = {"user_features": FEATURES}
KEY = ("as_of", "user_key")
ROWS = pa.table(
    {
        "as_of": [1, 1, 2, 2],
        "user_key": ["a", "b", "a", "b"],
        "recency_days": [0.0, 3.5, None, 9.0],
        "price_rank": [0.0, 1.0, 0.5, None],
        "brand": ["x", None, None, "y"],
    }
)


def counted(rows: pa.Table, key: tuple[str, ...] = KEY) -> dict[str, float | None]:
    expected = aggregates("user_features", FEATURES, key)
    select = ", ".join(f'{sql} AS "{name}"' for name, sql in expected.items())
    with duckdb.connect() as connection:
        connection.register("features", rows)
        (values,) = connection.sql(f"SELECT {select} FROM features").fetchall()
    return dict(zip(expected, values, strict=True))


def replaced(name: str, values: list[Any]) -> pa.Table:
    place = ROWS.column_names.index(name)
    return ROWS.set_column(place, name, pa.array(values, ROWS[name].type))


def broken(result: dict[str, float | None], limits: dict[str, Any]) -> set[str]:
    judgement = judge("data set", limits, [dict.fromkeys(limits) | result])
    return {name for name in limits if judgement.failed(name)}


def test_the_figures_of_a_table_are_counted_by_sql() -> None:
    assert counted(ROWS) == {
        "rows_user_features": 4,
        "repeated_user_features": 0,
        "keyless_user_features": 0,
        "not_finite_user_features": 0,
        "null_user_features_recency_days": 0.25,
        "null_user_features_price_rank": 0.25,
        "null_user_features_brand": 0.5,
        "lowest_user_features_recency_days": 0,
        "highest_user_features_recency_days": 9,
        "lowest_user_features_price_rank": 0,
        "highest_user_features_price_rank": 1,
    }


def test_a_table_without_rows_and_one_without_features_are_counted_too() -> None:
    assert counted(ROWS.slice(0, 0))["lowest_user_features_recency_days"] is None
    assert aggregates("sequences", ()) == {"rows_sequences": "count(*)"}


@pytest.mark.parametrize(
    ("column", "values", "figure"),
    [
        ("recency_days", [0, 1, 2, -0.5], "lowest_user_features_recency_days"),
        ("price_rank", [0, 1.1, 0, 0], "highest_user_features_price_rank"),
        ("price_rank", [-0.1, 1, 0, 0], "lowest_user_features_price_rank"),
        ("recency_days", [0, float("nan"), 2, 1], "not_finite_user_features"),
        ("price_rank", [0, float("inf"), None, 1], "not_finite_user_features"),
        ("as_of", [1, 1, 1, 2], "repeated_user_features"),
        ("user_key", ["a", None, "a", "b"], "keyless_user_features"),
    ],
)
def test_a_broken_promise_is_found_by_its_figure(column: str, values: list[Any], figure: str) -> None:
    assert broken(figures(counted(replaced(column, values))), bounds(SMALL)) == {figure}


def test_a_sound_table_breaks_nothing_and_rounding_is_no_fault() -> None:
    rounded = replaced("price_rank", [-1e-12, 1 + 1e-12, None, 0])
    for rows in (ROWS, rounded, ROWS.slice(0, 0)):
        assert broken(figures(counted(rows)), bounds(SMALL)) == set()


def test_there_is_something_to_choose_from() -> None:
    assert set(INTERACTIONS) == {"rows_interactions", "users", "items"}
    result = figures({"rows_interactions": 0, "users": 1, "items": 1})
    assert broken(result, bounds(SMALL)) == {"rows_interactions", "users", "items"}
    assert broken(figures({"rows_interactions": 2, "users": 2, "items": 2}), bounds(SMALL)) == set()


@pytest.mark.parametrize(("now", "faulty"), [(49, True), (50, False), (200, False), (201, True)])
def test_there_are_half_to_twice_as_many_as_last_time(now: int, faulty: bool) -> None:
    before = {"rows_interactions": 100, "users": 100, "items": 100, "rows_user_features": 100}
    result = figures(dict.fromkeys(before, now), previous=before)
    assert broken(result, bounds(SMALL)) == ({f"ratio_{name}" for name in before} if faulty else set())


def test_rows_users_and_items_are_compared_with_what_the_lake_counts() -> None:
    now = {"rows_interactions": 49.0, "users": 50.0, "items": 201.0}
    lake = {"rows_interactions": 100, "users": 100, "items": 100, "events": 1000, "ledger": 2001}
    result = figures(now, lake=lake)
    assert broken(result, bounds(SMALL)) == {"accounted_rows_interactions", "accounted_items", LAKE_ROWS}
    assert figures(now)["rows_interactions"] == 49
    assert LAKE_ROWS not in figures(now)
    loose = DatasetLimits(smallest_ratio=0.4, largest_ratio=3)
    assert broken(result, bounds(SMALL, limits=loose)) == set()


def test_empty_values_are_compared_within_a_source_and_a_new_source_with_nothing() -> None:
    before = {"shop": {"user_features_brand": 0.1, "user_features_recency_days": 0.5}}
    now = {"shop": {"user_features_brand": 0.4, "user_features_recency_days": 0.4}, "new": {"user_features_brand": 1.0}}
    rises = null_rises(now, before)
    assert {name: (round(rise, 6), source) for name, (rise, source) in rises.items()} == {
        "user_features_brand": (0.3, "shop"),
        "user_features_recency_days": (-0.1, "shop"),
    }
    result = figures({}) | {f"null_rise_{name}": rise for name, (rise, _) in rises.items()}
    assert broken(result, bounds(SMALL)) == {"null_rise_user_features_brand"}
    assert null_rises(now, {}) == {}


@pytest.mark.parametrize(
    ("check", "value", "words"),
    [
        (
            "ratio_users",
            4.0,
            "ratio_users is 4; 0.5 to 2 is allowed. 400 after 100 in the last data set; the lake gained +300 users who",
        ),
        ("accounted_users", 0.4, "0.4; 0.5 to 2 is allowed. The data set has 400 of the 1,000 users who bought"),
        ("lake_rows", 0.25, "The lake holds 5 of the 20 events that the ledger counts as accepted"),
        ("users", 1.0, "users is 1; at least 2 is allowed"),
        (
            "null_rise_user_features_brand",
            0.3,
            "is 0.3; at most 0.2 is allowed. This is the rise of the share of empty values in source 'shop'",
        ),
    ],
)
def test_a_failed_check_is_named_with_its_value_its_limit_and_what_was_compared(
    check: str, value: float, words: str
) -> None:
    compared = Comparison(
        {"users": 400, "rows_user_features": 30},
        {"users": 100, "rows_user_features": 10},
        {"users": 1000, "events": 5, "ledger": 20},
        {"users": 700},
        {"user_features_brand": "shop"},
    )
    assert words in sentence(check, value, bounds(SMALL)[check], compared)


def test_each_group_is_counted_among_all_and_among_those_learned_from() -> None:
    users = pa.table({"user_key": list("abcde"), "home": ["flat", "flat", "house", None, "house"]})
    assert groups(users, pa.array(["a", "c", "d", "stranger"])) == [
        Group("home", "flat", 2, 1),
        Group("home", "house", 2, 1),
        Group("home", None, 1, 1),
    ]


def test_numbers_are_grouped_by_fifths_and_names_not_at_all() -> None:
    keys = [f"u{i}" for i in range(100)]
    users = pa.table({"user_key": keys, "age": [str(i) for i in range(100)], "name": keys})
    result = groups(users, pa.array(keys[:50]))
    assert {group.trait for group in result} == {"age"}
    assert result[0] == Group("age", "0 to 19.8", 20, 20)
    assert sum(group.users for group in result) == 100


def test_a_groups_share_of_the_training_data_is_held_against_its_share_of_all() -> None:
    # Half of all are learned from: 100, 300 and 100 are to be expected.
    parts = [Group("age", "young", 200, 40), Group("age", "old", 600, 440), Group("age", None, 200, 20)]
    result = figures({}, parts)
    assert result == {
        "group_size age=young": 40,
        "group_ratio age=young": 0.4,
        "group_size age=old": 440,
        "group_ratio age=old": pytest.approx(440 / 300),
        "group_size age=unknown": 20,
        "group_ratio age=unknown": 0.2,
    }
    assert broken(result, bounds(SMALL, parts)) == {
        "group_ratio age=young",
        "group_ratio age=unknown",
        "group_size age=unknown",
    }


def test_a_small_group_is_shown_and_not_held_to_anything() -> None:
    parts = [Group("age", "young", 2 * USUAL.group_users - 2, 0), Group("age", "old", 1000, 549)]
    assert figures({}, parts)["group_ratio age=young"] == 0
    assert not any("young" in name for name in bounds(SMALL, parts))
    assert figures({}, [Group("age", "old", 5, 0)])["group_ratio age=old"] is None, "nobody is learned from"


def test_texts_of_users_are_no_markup_in_the_name_of_a_figure() -> None:
    hostile = [Group("<b>", "<script>${x}</script>" + "y" * 500, 5, 5)]
    (size, _) = figures({}, hostile)
    assert not set(size) & set("<>${}/")
    assert len(size) < 200


def test_samples_stand_side_by_side_and_not_one_row_may_break_a_rule() -> None:
    tables = {"user_features": FEATURES, "item_features": FEATURES[1:2]}
    items = pa.table({"price_rank": [0.5, 1.5]})
    rows = sample({"user_features": ROWS, "item_features": items}, tables)
    assert rows.column_names == [
        "user_features_recency_days",
        "user_features_price_rank",
        "item_features_price_rank",
    ]
    assert rows["item_features_price_rank"].to_pylist() == [0.5, 1.5, None, None]
    held = rules(tables)
    assert flags(rows, held)["item_features_price_rank_outside"].to_pylist() == [False, True, False, False]
    ((findings,), _) = judge_batches("dataset", BatchExpectations(held, {}), [Candidate("v1", rows, {})])
    reason = refusal(findings)
    assert reason is not None
    assert "item_features_price_rank_outside (1 of 4, at most 0% is allowed)" in reason
    assert "user_features" not in reason


@pytest.mark.parametrize(
    ("unit", "low", "high"), [("days", 0, None), ("0 to 1", 0, 1), ("0 or 1", 0, 1), ("0 to 23", 0, 23)]
)
def test_the_unit_states_between_which_numbers_a_feature_lies(unit: str, low: float, high: float | None) -> None:
    limits = range_of(Feature("x", "", unit))
    assert limits is not None
    assert limits[0] == pytest.approx(low, abs=1e-8)
    assert limits[1] == (high if high is None else pytest.approx(high, abs=1e-8))


def test_every_feature_of_the_catalogue_is_promised_something() -> None:
    held, limits = rules(), bounds()
    assert len({rule.id for rule in held}) == len(held)
    assert all(rule.id.isidentifier() and rule.meaning for rule in held)
    for table, features in TABLES.items():
        for feature in features:
            assert f"null_rise_{table}_{feature.name}" in limits
            assert feature.unit == "name" or f"lowest_{table}_{feature.name}" in limits
