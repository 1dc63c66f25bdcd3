"""Labels and impressions by hand, on every engine that is installed; they never look past their horizon."""

import json
from collections.abc import Callable
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets.labels import LabelConfig, impressions, labels
from models.errors import TailorbirdError

DAY, HOUR = 86_400, 3600
CUT = 100 * DAY
OF_IMPRESSIONS = {"click": 1.0, "dislike": -5.0}
CONNECTION = duckdb.connect()
COLUMNS = {
    "user_key": "str",
    "item_id": "str",
    "event_type": "str",
    "occurred_at": "int64",
    "received_at": "int64",
    "recommendation_id": "str",
    "placement": "str",
    "position": "Int64",
}
Row = dict[str, object]
Engine = Callable[[list[Row]], nw.LazyFrame[Any]]


def frame(rows: list[Row]) -> pd.DataFrame:
    whole = [{name: row.get(name) for name in COLUMNS} for row in rows]
    return pd.DataFrame(whole, columns=list(COLUMNS)).astype(COLUMNS)


def on_duckdb(rows: list[Row]) -> nw.LazyFrame[Any]:
    return nw.from_native(CONNECTION.from_df(frame(rows)))


def on_pandas(rows: list[Row]) -> nw.LazyFrame[Any]:
    return nw.from_native(frame(rows)).lazy()


@pytest.fixture(params=[on_duckdb, on_pandas])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


def event(user: str, item: str, kind: str, at: int, received: int | None = None, rec: str | None = None) -> Row:
    names = ("user_key", "item_id", "event_type", "occurred_at", "received_at", "recommendation_id")
    return dict(zip(names, (user, item, kind, at, received or at, rec), strict=True))


def shown(user: str, item: str, at: int, rec: str | None = "r1", position: int = 1, received: int | None = None) -> Row:
    return event(user, item, "impression", at, received, rec) | {"placement": "home", "position": position}


def result(frame: nw.LazyFrame[Any]) -> list[tuple[Any, ...]]:
    return sorted(frame.collect("pyarrow").rows())


def answers(frame: nw.LazyFrame[Any]) -> dict[tuple[str, str, str, int], int]:
    rows = frame.collect("pyarrow").rows(named=True)
    keys = ("user_key", "item_id", "recommendation_id", "shown_at")
    labelled = {tuple(row[key] for key in keys): row["label"] for row in rows}
    assert len(labelled) == len(rows)
    return labelled


def test_a_click_of_the_same_user_item_and_recommendation_makes_a_1(engine: Engine) -> None:
    rows = [
        shown("ann", "tea", CUT),
        shown("ann", "gum", CUT, position=2),
        shown("ann", "tea", CUT + HOUR, "r2"),
        shown("bob", "tea", CUT),
        event("ann", "tea", "click", CUT + 60, rec="r1"),
        event("bob", "tea", "click", CUT + 60, rec="r9"),
        event("ann", "gum", "click", CUT + 60),
    ]
    assert result(impressions(engine(rows), CUT, CUT + 9 * DAY, LabelConfig())) == [
        ("ann", "gum", "r1", "home", 2, CUT, 0),
        ("ann", "tea", "r1", "home", 1, CUT, 1),
        ("ann", "tea", "r2", "home", 1, CUT + HOUR, 0),
        ("bob", "tea", "r1", "home", 1, CUT, 0),
    ]


@pytest.mark.parametrize(
    ("kind", "act", "label"),
    [
        ("click", "view", 1),
        ("click", "purchase", 1),
        ("add_to_cart", "click", 0),
        ("add_to_cart", "purchase", 1),
        ("purchase", "add_to_cart", 0),
        ("purchase", "purchase", 1),
        ("engagement", "click", 1),
        ("engagement", "dislike", 0),
    ],
)
def test_a_later_step_answers_for_the_earlier_ones(engine: Engine, kind: Any, act: str, label: int) -> None:
    rows = [shown("ann", "tea", CUT), event("ann", "tea", act, CUT + 1, rec="r1")]
    config = LabelConfig(kind, weights=OF_IMPRESSIONS)
    assert answers(impressions(engine(rows), CUT, CUT + DAY, config)) == {("ann", "tea", "r1", CUT): label}


def naive(rows: list[Row], start: int, end: int, window: int, kinds: tuple[str, ...]) -> dict[tuple[Any, ...], int]:
    """The rules in loops, for `purchase` and `click`."""
    rows = [row for row in rows if row["occurred_at"] < end and row["received_at"] < end]
    key = ("user_key", "item_id", "recommendation_id", "occurred_at")
    lists = {tuple(row[name] for name in key) for row in rows if row["event_type"] == "impression"}
    lists = {shown for shown in lists if shown[2] and shown[3] >= start}

    def latest(row: Row, shown: Any) -> list[Any]:
        fits = [s for s in shown if s[0] == row["user_key"] and s[1] == row["item_id"]]
        fits = [s for s in fits if 0 <= row["occurred_at"] - s[3] < window]
        return sorted(fits, key=lambda s: (-s[3], s[2]))[:1]

    def with_id(kinds: tuple[str, ...]) -> list[tuple[Any, Row]]:
        acts = [row for row in rows if row["event_type"] in kinds and row["recommendation_id"]]
        own = [(row, [s for s in lists if s[2] == row["recommendation_id"]]) for row in acts]
        return [(s, row) for row, shown in own for s in latest(row, shown)]

    clicks, answered = with_id(("click",)), {s for s, _ in with_id(kinds)}
    for row in rows:
        if row["event_type"] in kinds and not row["recommendation_id"] and "click" not in kinds:
            before = [s for s, click in clicks if click["occurred_at"] <= row["occurred_at"]]
            answered |= set(latest(row, before))
    return {s: int(s in answered) for s in lists if s[3] + window <= end}


acts = st.builds(
    event,
    st.sampled_from(["ann", "bob"]),
    st.just("tea"),
    st.sampled_from(["click", "purchase", "purchase", "add_to_cart"]),
    st.integers(CUT - 3, CUT + 24),
    st.sampled_from([None, None, None, CUT + 25]),
    st.sampled_from([None, "r1", "r2"]),
)
lists = st.builds(
    shown,
    st.sampled_from(["ann", "bob"]),
    st.just("tea"),
    st.integers(CUT - 3, CUT + 20),
    st.sampled_from(["r1", "r1", "r2", None]),
    received=st.sampled_from([None, None, None, CUT + 21, CUT + 22]),
)


@given(st.lists(lists, min_size=1, max_size=8), st.lists(acts, max_size=12), st.sampled_from(["click", "purchase"]))
def test_the_rules_equal_their_definition_in_loops(lists: list[Row], acts: list[Row], kind: Any) -> None:
    window, end = 8, CUT + 22
    kinds = ("click", "add_to_cart", "purchase") if kind == "click" else ("purchase",)
    config = LabelConfig(kind, attribution_days=window / DAY)
    expected = naive(lists + acts, CUT, end, window, kinds)
    for engine in (on_duckdb, on_pandas):
        assert answers(impressions(engine(lists + acts), CUT, end, config)) == expected


HISTORY = [
    event("ann", "tea", "purchase", CUT - 1),
    event("ann", "tea", "purchase", CUT, CUT + 9),  # exactly at the cut: after it
    event("ann", "tea", "purchase", CUT + 5),
    event("ann", "tea", "view", CUT + 6),
    event("ann", "gum", "click", CUT + DAY, CUT + 9 * DAY),
    event("bob", "tea", "add_to_cart", CUT + 2 * DAY),
    event("bob", "tea", "remove_from_cart", CUT + 3 * DAY),
    event("bob", "tea", "remove_from_cart", CUT + 4 * DAY),
    event("bob", "gum", "add_to_cart", CUT + 7 * DAY - 1),
    event("bob", "gum", "purchase", CUT + 7 * DAY),  # exactly when the horizon is over: too late
    event("bob", "nut", "impression", CUT + 1),
]
WEIGHTS = {"view": 1.0, "click": 1.0, "add_to_cart": 3.0, "remove_from_cart": -2.5, "purchase": 5.0}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("click", [("ann", "gum", 1, 1.0, CUT + 9 * DAY), ("ann", "tea", 1, 1.0, CUT + 6)]),
        ("add_to_cart", [("bob", "gum", 1, 1.0, CUT + 7 * DAY - 1), ("bob", "tea", 1, 1.0, CUT + 2 * DAY)]),
        ("purchase", [("ann", "tea", 1, 2.0, CUT + 5)]),
        (
            "engagement",
            [
                ("ann", "gum", 1, 1.0, CUT + 9 * DAY),
                ("ann", "tea", 1, 11.0, CUT + 9),
                ("bob", "gum", 1, 3.0, CUT + 7 * DAY - 1),
                ("bob", "tea", 0, 2.0, CUT + 4 * DAY),
            ],
        ),
    ],
)
def test_labels_by_hand(engine: Engine, kind: Any, expected: list[tuple[Any, ...]]) -> None:
    assert result(labels(engine(HISTORY), CUT, LabelConfig(kind, horizon_days=7, weights=WEIGHTS))) == expected


def test_engagement_that_sums_to_zero_gives_no_label(engine: Engine) -> None:
    config = LabelConfig("engagement", horizon_days=7, weights={"add_to_cart": 2.0, "remove_from_cart": -2.0})
    rows = [event("ann", "tea", "add_to_cart", CUT), event("ann", "tea", "remove_from_cart", CUT + 1)]
    assert result(labels(engine(rows), CUT, config)) == []


def test_training_at_a_moment_ignores_later_arrivals(engine: Engine) -> None:
    config, now = LabelConfig("click", horizon_days=7), CUT + 8 * DAY
    assert [row[1] for row in result(labels(engine(HISTORY), CUT, config, known_at=now))] == ["tea"]
    with pytest.raises(TailorbirdError, match="cut earlier"):
        labels(engine(HISTORY), CUT, config, known_at=CUT + 7 * DAY - 1)


kinds = st.sampled_from(["view", "click", "add_to_cart", "remove_from_cart", "purchase", "dislike", "impression"])
lives = st.lists(
    st.builds(
        event, st.sampled_from(["ann", "bob"]), st.sampled_from(["tea", "gum"]), kinds, st.integers(CUT - 9, CUT + 9)
    )
)


@given(lives, lives, st.sampled_from(["click", "add_to_cart", "purchase", "engagement"]))
def test_nothing_outside_cut_and_horizon_changes_a_label(inside: list[Row], other: list[Row], kind: Any) -> None:
    config = LabelConfig(kind, horizon_days=4 / DAY, weights=WEIGHTS)
    window = range(CUT, CUT + 4)
    inside = [row for row in inside if row["occurred_at"] in window]
    other = [row for row in other if row["occurred_at"] not in window]
    assert result(labels(on_duckdb(inside + other), CUT, config)) == result(labels(on_duckdb(inside), CUT, config))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "hover"}, "choose one of click, add_to_cart, purchase, engagement"),
        ({"horizon_days": 0}, "above 0"),
        ({"kind": "engagement", "weights": {"dislike": -1.0}}, "weight above 0"),
    ],
)
def test_an_invalid_config_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(TailorbirdError, match=message):
        LabelConfig(**wrong)


def test_a_config_survives_json() -> None:
    config = LabelConfig("engagement", 7.5, 0.5, {"view": 1.0})
    assert LabelConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    assert LabelConfig.from_dict({}) == LabelConfig()


def test_a_horizon_is_required_or_set_by_the_caller() -> None:
    with pytest.raises(TailorbirdError, match="need horizon_days"):
        LabelConfig().horizon  # noqa: B018
    assert LabelConfig().until(3 * DAY).horizon == 3 * DAY
    assert LabelConfig(horizon_days=7).until(3 * DAY).horizon == 7 * DAY
