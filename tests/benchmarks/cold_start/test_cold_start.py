import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import sparse

from benchmarks.cold_start.comparison import Comparison, of_items
from benchmarks.cold_start.items import new_of
from benchmarks.cold_start.users import FEW, cut_down, drawn
from models.datasets.dataset import Dataset
from models.recommenders.baselines.most_popular import MostPopular
from tests.models.conftest import CUT, CUTS, DAY, make_shop


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset(CUTS, *make_shop(seed=1))


def baskets(rows: pa.Table, before: bool) -> dict[str, int]:
    chosen = rows.filter(pc.equal(pc.less(rows["occurred_at"], CUT), before))
    counted = chosen.group_by("user_key").aggregate([("session_id", "count_distinct")])
    return dict(zip(counted["user_key"].to_pylist(), counted["session_id_count_distinct"].to_pylist(), strict=True))


def latest(dataset: Dataset) -> int:
    """Return the time of u003's last purchase before the cut."""
    rows = dataset.interactions
    own = pc.and_(pc.equal(rows["user_key"], "u003"), pc.less(rows["occurred_at"], CUT))
    return int(pc.max(rows.filter(own)["occurred_at"]).as_py())


def test_a_user_who_is_cut_down_keeps_the_last_one_to_four_baskets_and_all_later_ones(dataset: Dataset) -> None:
    held = np.array(["u003", "u007", "u011"])
    less = cut_down(dataset, held, CUT)
    was, now = baskets(dataset.interactions, before=True), baskets(less.interactions, before=True)
    assert all(1 <= now[key] <= FEW < was[key] for key in held)
    assert {key: n for key, n in now.items() if key not in held} == {k: n for k, n in was.items() if k not in held}
    assert baskets(less.interactions, before=False) == baskets(dataset.interactions, before=False)
    assert latest(less) == latest(dataset)


def test_households_are_drawn_from_those_who_shop_before_and_after(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.cold_start.users.HELD", 10)
    held = drawn(dataset, CUT, CUTS["as_of"])
    assert len(set(held.tolist())) == 10
    assert set(held.tolist()) <= baskets(dataset.interactions, before=True).keys()
    assert set(held.tolist()) <= baskets(dataset.interactions, before=False).keys()


def test_new_products_were_first_sold_in_the_last_weeks_or_never(dataset: Dataset) -> None:
    rows = dataset.interactions
    old = pc.and_(pc.equal(rows["item_id"], "i07"), pc.less(rows["occurred_at"], CUT - 5 * DAY))
    included = rows.filter(pc.and_(pc.invert(old), pc.not_equal(rows["item_id"], "i22")))
    late = Dataset(CUTS, included, dataset.users, dataset.items)
    products, paths = new_of(late, late.training_data(CUT))
    assert products.tolist() == ["i07", "i22"]
    assert paths.tolist() == ["SHOP|FRUIT|SOFT", "SHOP|Tools"]


def test_ways_are_held_against_the_first_one() -> None:
    figures: dict[str, float] = {}
    expected = sparse.csr_array(np.eye(2, dtype=bool))
    compared = Comparison("a title: of two", expected, np.array([2, 1], np.float32), figures)
    compared.add_unanswered("best sellers")
    compared.add("seers", np.array([[1, 0], [0, 1]], dtype=np.float32))
    assert (figures["a_title.best sellers.gain_low"], figures["a_title.best sellers.gain_high"]) == (0, 0)
    assert figures["a_title.seers.ndcg_at_10"] == 1
    assert figures["a_title.best sellers.ndcg_at_10"] == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_a_model_scores_no_item_that_it_does_not_know(dataset: Dataset) -> None:
    model = MostPopular.fit(dataset.training_data(CUT), MostPopular.config_type(), 0)
    result = of_items(model, np.array([0], np.int32), np.array(["i01", "nowhere"]))
    assert result[0].tolist() == [model.popularity[1], -np.inf]
