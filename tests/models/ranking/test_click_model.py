"""A click model on a shop whose truth is known, end to end; and what the model promises on its own."""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import duckdb
import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.synthetic_shop.clickstream import clickstream
from benchmarks.synthetic_shop.impressions import LAW, LENGTH
from models.datasets.impression_labels import IMPRESSION
from models.datasets.labels import LabelConfig
from models.datasets.time_splits import SplitConfig, rolling_origin, split
from models.ranking.click_examples import COLUMNS, click_rows
from models.ranking.click_model import ClickModel, ClickModelError, Config

LABELS = LabelConfig("click", attribution_days=0.5)


class Learned(NamedTuple):
    """A model learned before a moment, the impressions after it, and the truth about them."""

    model: ClickModel
    train: pa.Table
    later: pa.Table
    truth: NDArray[np.float64]
    clicked: NDArray[np.int64]
    rates: dict[str, float]
    """Clicks by impressions of each item in the training part."""


@pytest.fixture(scope="module")
def learned() -> Learned:
    """Of 70 % of a quarter, the last four weeks are learned from, each with features as they were when it began."""
    shop, connection = clickstream(users=100, items=200, sessions=20_000, seed=5), duckdb.connect()
    stamped = """
        SELECT * EXCLUDE user_id REPLACE (epoch(occurred_at)::bigint AS occurred_at,
                                          epoch(received_at)::bigint AS received_at), user_id AS user_key FROM events
    """
    connection.register("events", shop.events)

    def keep(rows: Callable[[], nw.LazyFrame[Any]], _name: str = "") -> nw.LazyFrame[Any]:
        return nw.from_native(connection.from_arrow(rows().collect("pyarrow").to_arrow()))

    events = keep(lambda: nw.from_native(connection.sql(stamped)))
    items = nw.from_native(connection.from_arrow(shop.items))
    cuts = split(events.filter(nw.col("event_type") == IMPRESSION), SplitConfig(min_history_days=30))
    first = events.select(nw.col("occurred_at").min()).collect("pyarrow").item()

    def rows(start: int, end: int) -> pa.Table:
        return click_rows(events, items, start, end, LABELS, keep=keep).collect("pyarrow").to_arrow()

    weeks = rolling_origin(first, cuts.validation_from, folds=4, horizon_days=7)
    train = pa.concat_tables([rows(week.train_until, week.measured_until) for week in weeks])
    later = rows(cuts.test_from, cuts.as_of).join(
        shop.truth.select(["recommendation_id", "item_id", "click_probability"]), ["recommendation_id", "item_id"]
    )
    rates = train.group_by("item_id").aggregate([("label", "mean")])
    return Learned(
        ClickModel.fit(train, COLUMNS, Config(), seed=1),
        train,
        later,
        np.asarray(later["click_probability"]),
        np.asarray(later["label"]),
        dict(zip(rates["item_id"].to_pylist(), rates["label_mean"].to_pylist(), strict=True)),
    )


def test_labels_are_the_clicks_that_the_truth_foresees(learned: Learned) -> None:
    assert len(learned.later) > 10_000
    deviation = np.sqrt((learned.truth * (1 - learned.truth)).sum())
    assert abs(learned.clicked.sum() - learned.truth.sum()) < 4 * deviation


def test_it_beats_popularity_on_later_impressions_and_comes_near_the_truth(learned: Learned) -> None:
    usual = float(np.mean(list(learned.rates.values())))
    popularity = [learned.rates.get(item, usual) for item in learned.later["item_id"].to_pylist()]
    truth, model, popular = (
        roc_auc_score(learned.clicked, guess)
        for guess in (learned.truth, learned.model.probabilities(learned.later), popularity)
    )
    assert model > popular + 0.05
    assert (model - 0.5) / (truth - 0.5) > 0.8


def test_its_probabilities_are_what_happens_tenth_by_tenth(learned: Learned) -> None:
    guess = learned.model.probabilities(learned.later)
    tenths = np.array_split(np.argsort(guess, kind="stable"), 10)
    gaps = [abs(guess[tenth].mean() - learned.clicked[tenth].mean()) for tenth in tenths]
    assert max(gaps) < 0.04
    assert np.mean(gaps) < 0.012
    assert guess.mean() == pytest.approx(learned.clicked.mean(), rel=0.12)


def test_it_learns_what_each_place_on_the_list_takes_away(learned: Learned) -> None:
    coefficients = dict(zip(learned.model.names.tolist(), learned.model.coefficients, strict=True))
    places = np.arange(1, LENGTH + 1)
    lost = np.array([coefficients["place=1"] - coefficients[f"place={place}"] for place in places])
    np.testing.assert_allclose(lost, LAW.position * np.log(places), atol=0.2)


def test_it_is_stored_without_pickle_and_comes_back_the_same(learned: Learned) -> None:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **learned.model.state())
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        again = ClickModel.from_state(learned.model.config, dict(stored))
    np.testing.assert_array_equal(again.probabilities(learned.later), learned.model.probabilities(learned.later))
    assert again.names.tolist() == learned.model.names.tolist()


def test_the_same_rows_and_seed_give_the_same_model(learned: Learned) -> None:
    again = ClickModel.fit(learned.train, COLUMNS, Config(), seed=1)
    np.testing.assert_array_equal(again.coefficients, learned.model.coefficients)


def test_a_row_is_judged_alone(learned: Learned) -> None:
    few = learned.later.slice(7, 3)
    np.testing.assert_allclose(
        learned.model.probabilities(few), learned.model.probabilities(learned.later)[7:10], rtol=1e-6
    )


ROWS = pa.table(
    {
        "place": ["1", "2"] * 20,
        "age": pa.array([None, 1.0, 2.0, 30.0] * 10),
        "label": [1, 0, 0, 0, 0, 0, 1, 0] * 5,
    }
)


def test_a_missing_number_counts_as_the_median_of_the_training_rows_and_an_unknown_word_as_none() -> None:
    model = ClickModel.fit(ROWS.filter(pc.is_valid(ROWS["age"])), ["place", "age"], Config(), seed=0)
    guess = model.probabilities(pa.table({"place": ["1", "1", "77"], "age": pa.array([None, 2.0, 2.0])}))
    assert guess[0] == guess[1]
    assert np.isfinite(guess).all()
    assert model.probabilities(ROWS.slice(0, 0)).shape == (0,)


@pytest.mark.parametrize("label", [0, 1])
def test_clicks_alone_or_none_teach_nothing(label: int) -> None:
    rows = ROWS.set_column(2, "label", pa.array([label] * 40))
    with pytest.raises(ClickModelError, match="with and without"):
        ClickModel.fit(rows, ["place"], Config(), seed=0)
