import pyarrow as pa
import pytest

from expectations import events, items
from expectations.limits import bounds, figures, limited
from models.ingest.batch_limits import Limits
from models.ingest.source_config import MappingError
from tasks.quality.suites import BatchExpectations, Candidate, judge_batches


def test_without_limits_the_usual_ones_hold() -> None:
    assert bounds("events", Limits()) == events.PROFILE_BOUNDS
    assert limited("events", events.RULES, Limits()) == events.RULES


def test_a_side_that_is_left_open_stays_as_it_is_usual() -> None:
    values = Limits(events={"rows": ["", 500], "late_share": 0.1, "hours_old": ["", 48], "days": [1, ""]})
    assert bounds("events", values) == {
        "rows": (1.0, 500.0),
        "quarantined_share": (None, 0.2),
        "late_share": (None, 0.1),
        "hours_old": (None, 48.0),
        "days": (1.0, None),
    }
    assert bounds("items", values) == items.PROFILE_BOUNDS


def test_a_limit_of_a_rule_holds_for_the_sample_and_for_the_batch() -> None:
    values = Limits(events={"item_not_in_catalogue": 0.5})
    rules = [rule for rule in limited("events", events.RULES, values) if rule.id == "item_not_in_catalogue"]
    assert [rule.mostly for rule in rules] == [0.5]
    sample = pa.table({"in_catalogue": [True, True, False, False]})
    figures = {"rows": 4, "quarantined_share": 0.1, "item_not_in_catalogue": 0.6}
    expected = BatchExpectations(tuple(rules), bounds("events", values))
    ((of_sample, *of_batch),), _ = judge_batches("events", expected, [Candidate("b", sample, figures)])
    assert of_sample["passed"]
    assert {finding["rule_id"] for finding in of_batch if not finding["passed"]} == {"item_not_in_catalogue"}


def test_a_limit_may_allow_everything_or_nothing() -> None:
    for share, mostly in ((0, 1.0), (1, 0.0), (7, 0.0)):
        rules = limited("events", events.RULES, Limits(events={"robot": share}))
        assert [rule.mostly for rule in rules if rule.id == "robot"] == [mostly]


@pytest.mark.parametrize(("dataset", "name"), [("events", "rowz"), ("events", "null_title"), ("users", "days")])
def test_an_unknown_figure_is_reported_with_the_known_ones(dataset: str, name: str) -> None:
    values = Limits.model_validate({dataset: {name: 1}})
    for validate_batch in (lambda: bounds(dataset, values), lambda: limited(dataset, events.RULES, values)):
        with pytest.raises(MappingError, match=rf"limits.{dataset} names '{name}', .* are rows, quarantined_share"):
            validate_batch()


def test_every_rule_and_every_column_has_a_figure() -> None:
    for name in ("robot", "id_conflict", "unreadable", "null_value", "time_in_future", "days"):
        assert name in figures("events")
    assert {"null_category", "price_negative"} <= set(figures("items"))
    assert "null_consent" in figures("users")
