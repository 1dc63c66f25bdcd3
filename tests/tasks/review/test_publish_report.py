import pyarrow as pa
import pytest

from models.datasets.dataset import Dataset
from models.evaluation.comparison.example_users import Example, ExampleList
from models.evaluation.offline import Evaluation
from tasks.review.publish_report import material, titles
from tests.models.conftest import CUTS, DAY, make_shop


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset(CUTS, *make_shop(seed=1))


def test_a_version_states_what_it_has_learned_from_and_was_measured_on(dataset: Dataset) -> None:
    described = material(dataset, "v1", Evaluation(pa.table({"user_key": ["u000", "u001"]}), {}))
    assert (described.users, described.items, described.measured) == (60, 45, 2)
    assert described.began // DAY == 20
    assert "60 people bought of 45 items from 1970-01-21 05:55:07 UTC to 1970-08-19 00:00 UTC" in described.sentence
    assert "measured on what 2 of them bought from 1970-07-20 00:00 UTC on" in described.sentence


def test_items_on_the_page_have_the_titles_of_the_catalogue(dataset: Dataset) -> None:
    one = Example("u0", 1, ExampleList(["i01"], 0.0), ExampleList(["i02", "gone"], 0.0), ["i03"], frozenset())
    assert titles(dataset, [one]) == {"i01": "Item 1", "i02": "Item 2", "i03": "Item 3"}
    assert titles(dataset, []) == {}
