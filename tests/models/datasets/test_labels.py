"""Labels by hand, on every engine that is installed; they never look past their horizon."""

import json
from collections.abc import Callable
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets.labels import LabelConfig, labels
from models.errors import TailorbirdError

DAY = 86_400
CUT = 100 * DAY
CONNECTION = duckdb.connect()
COLUMNS = {
    "user_key": "str",
    "item_id": "str",
    "event_type": "str",
    "occurred_at": "int64",
    "received_at": "int64",
}
Row = dict[str, object]
Engine = Callable[[list[Row]], nw.LazyFrame[Any]]


def frame(rows: list[Row]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def on_duckdb(rows: list[Row]) -> nw.LazyFrame[Any]:
    return nw.from_native(CONNECTION.from_df(frame(rows)))


def on_pandas(rows: list[Row]) -> nw.LazyFrame[Any]:
    return nw.from_native(frame(rows)).lazy()


@pytest.fixture(params=[on_duckdb, on_pandas])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


def event(user: str, item: str, kind: str, at: int, received: int | None = None) -> Row:
    return dict(zip(COLUMNS, (user, item, kind, at, received or at), strict=True))


def result(frame: nw.LazyFrame[Any]) -> list[tuple[Any, ...]]:
    return sorted(frame.collect("pyarrow").rows())


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
        ({"attribution_days": -1}, "above 0"),
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


def test_by_default_engagement_weighs_as_the_feature_of_that_name_does() -> None:
    assert LabelConfig("engagement").weights.items() >= {"purchase": 10.0, "add_to_cart": 4.0, "view": 1.0}.items()


def test_a_horizon_is_required_or_set_by_the_caller() -> None:
    with pytest.raises(TailorbirdError, match="need horizon_days"):
        LabelConfig().horizon  # noqa: B018
    assert LabelConfig().until(3 * DAY).horizon == 3 * DAY
    assert LabelConfig(horizon_days=7).until(3 * DAY).horizon == 7 * DAY
