"""Impressions by hand, on every engine that is installed: what is answered, by which rules, and what stays open."""

from collections.abc import Callable
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets.labels import LabelConfig, impressions

DAY, HOUR = 86_400, 3600
CUT = 100 * DAY
WEIGHTS = {"click": 1.0, "dislike": -5.0}
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


@pytest.mark.parametrize(("after", "label"), [(-1, 0), (0, 1), (DAY - 1, 1), (DAY, 0)])
def test_the_window_begins_with_the_impression_and_ends_before_its_end(engine: Engine, after: int, label: int) -> None:
    rows = [shown("ann", "tea", CUT), event("ann", "tea", "click", CUT + after, rec="r1")]
    assert answers(impressions(engine(rows), CUT, CUT + 9 * DAY, LabelConfig())) == {("ann", "tea", "r1", CUT): label}


def test_an_answer_counts_once_for_the_latest_impression_before_it(engine: Engine) -> None:
    rows = [
        *(shown("ann", "tea", CUT + hour * HOUR) for hour in (0, 1, 2)),
        event("ann", "tea", "click", CUT + HOUR + 1, rec="r1"),
        event("ann", "tea", "view", CUT + HOUR + 1, rec="r1"),
    ]
    labelled = answers(impressions(engine(rows), CUT, CUT + 9 * DAY, LabelConfig()))
    assert [labelled["ann", "tea", "r1", CUT + hour * HOUR] for hour in (0, 1, 2)] == [0, 1, 0]


def test_the_same_item_twice_in_a_second_is_one_impression_with_its_smallest_position(engine: Engine) -> None:
    rows = [shown("ann", "tea", CUT, position=p) for p in (7, 3, 3)]
    assert result(impressions(engine(rows), CUT, CUT + DAY, LabelConfig())) == [("ann", "tea", "r1", "home", 3, CUT, 0)]


def test_an_open_window_is_left_out_and_not_called_a_negative(engine: Engine) -> None:
    rows = [
        shown("ann", "tea", CUT - 1),
        shown("ann", "tea", CUT),
        shown("ann", "gum", CUT + DAY),
        shown("ann", "nut", CUT + DAY + 1),
        event("ann", "nut", "click", CUT + DAY + 2, rec="r1"),
    ]
    labelled = answers(impressions(engine(rows), CUT, CUT + 2 * DAY, LabelConfig()))
    assert labelled == {("ann", "tea", "r1", CUT): 0, ("ann", "gum", "r1", CUT + DAY): 0}
    assert ("ann", "nut", "r1", CUT + DAY + 1) in answers(
        impressions(engine(rows), CUT, CUT + 2 * DAY + 1, LabelConfig())
    )


def test_a_click_belongs_to_a_later_impression_even_if_that_is_left_out(engine: Engine) -> None:
    rows = [
        shown("ann", "tea", CUT),
        shown("ann", "tea", CUT + 10),
        event("ann", "tea", "click", CUT + 20, rec="r1"),
    ]
    assert answers(impressions(engine(rows), CUT, CUT + DAY + 5, LabelConfig())) == {("ann", "tea", "r1", CUT): 0}


def test_only_what_was_known_at_the_end_counts(engine: Engine) -> None:
    end = CUT + 2 * DAY
    rows = [
        shown("ann", "tea", CUT),
        shown("ann", "gum", CUT, received=end),
        event("ann", "tea", "click", CUT + 1, received=end, rec="r1"),
    ]
    assert answers(impressions(engine(rows), CUT, end, LabelConfig())) == {("ann", "tea", "r1", CUT): 0}
    assert set(answers(impressions(engine(rows), CUT, end + 1, LabelConfig())).values()) == {0, 1}


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
    config = LabelConfig(kind, weights=WEIGHTS)
    assert answers(impressions(engine(rows), CUT, CUT + DAY, config)) == {("ann", "tea", "r1", CUT): label}


def test_a_purchase_that_forgot_its_recommendation_counts_if_the_item_was_clicked(engine: Engine) -> None:
    rows = [
        shown("ann", "tea", CUT),
        event("ann", "tea", "click", CUT + 10, rec="r1"),
        event("ann", "tea", "purchase", CUT + 20),
        shown("bob", "tea", CUT),  # never clicked
        event("bob", "tea", "purchase", CUT + 20),
        shown("cleo", "tea", CUT),  # bought first, clicked later
        event("cleo", "tea", "purchase", CUT + 20),
        event("cleo", "tea", "click", CUT + 21, rec="r1"),
        shown("dan", "tea", CUT),  # bought after the window
        event("dan", "tea", "click", CUT + 10, rec="r1"),
        event("dan", "tea", "purchase", CUT + DAY),
        shown("fay", "tea", CUT),  # clicked and bought in one second
        event("fay", "tea", "click", CUT + 10, rec="r1"),
        event("fay", "tea", "purchase", CUT + 10),
        shown("eve", "tea", CUT),  # bought out of another recommendation
        event("eve", "tea", "click", CUT + 10, rec="r1"),
        event("eve", "tea", "purchase", CUT + 20, rec="r2"),
    ]
    labelled = answers(impressions(engine(rows), CUT, CUT + 9 * DAY, LabelConfig("purchase")))
    assert {user for (user, *_), label in labelled.items() if label} == {"ann", "fay"}
    assert len(labelled) == 6


def test_a_nameless_purchase_counts_once_for_the_latest_and_then_the_first_by_name(engine: Engine) -> None:
    rows = [
        shown("ann", "tea", CUT, "old"),
        shown("ann", "tea", CUT + 1, "r2"),
        shown("ann", "tea", CUT + 1, "r1"),
        shown("ann", "tea", CUT + 2, "unclicked"),
        *(event("ann", "tea", "click", CUT + 5, rec=rec) for rec in ("old", "r2", "r1")),
        event("ann", "tea", "purchase", CUT + 9),
    ]
    labelled = answers(impressions(engine(rows), CUT, CUT + 9 * DAY, LabelConfig("purchase")))
    assert {rec: label for (_, _, rec, _), label in labelled.items()} == {"old": 0, "r1": 1, "r2": 0, "unclicked": 0}


def test_an_impression_that_cannot_be_joined_is_no_negative(engine: Engine) -> None:
    rows = [shown("ann", "tea", CUT, rec=None), event("ann", "tea", "click", CUT + 1)]
    assert answers(impressions(engine(rows), CUT, CUT + DAY, LabelConfig())) == {}


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
    st.sampled_from(["r1", "r2"]),
)


@given(st.lists(lists, min_size=1, max_size=8), st.lists(acts, max_size=12), st.sampled_from(["click", "purchase"]))
def test_the_rules_equal_their_definition_in_loops(lists: list[Row], acts: list[Row], kind: Any) -> None:
    window, end = 8, CUT + 22
    kinds = ("click", "add_to_cart", "purchase") if kind == "click" else ("purchase",)
    config = LabelConfig(kind, attribution_days=window / DAY)
    labelled = answers(impressions(on_duckdb(lists + acts), CUT, end, config))
    assert labelled == naive(lists + acts, CUT, end, window, kinds)
