import numpy as np
import pyarrow as pa
import pytest

from models.evaluation.metrics.bootstrap import Estimate
from models.gate.fairness_checks import UNKNOWN, demographics, groups_of, results
from models.gate.thresholds import GateThresholds


def test_people_are_grouped_by_the_traits_that_differ() -> None:
    users = pa.table(
        {
            "user_key": ["a", "b", "c", "d"],
            "age": ["young", "old", None, "young"],
            "income": [10.0, 20.0, 30.0, 40.0],
            "country": ["DE"] * 4,
        }
    )
    values = demographics(users, pa.array(["d", "c", "stranger"]))
    assert set(values) == {"age", "income"}
    assert values["age"].tolist() == ["young", UNKNOWN, UNKNOWN]
    assert values["income"][0].endswith("to 40")
    assert values["income"][2] == UNKNOWN


def test_groups_are_all_values_of_every_trait_and_none_of_a_trait_that_all_share() -> None:
    result = groups_of({"age": np.array(["old", "young", "old"]), "city": np.array(["X", "X", "X"])})
    assert [(group.trait, group.value, group.members.tolist()) for group in result] == [
        ("age", "old", [True, False, True]),
        ("age", "young", [False, True, False]),
    ]


@pytest.mark.parametrize(("high", "passed"), [(-0.021, False), (-0.019, True), (0.1, True)])
def test_a_group_is_refused_when_all_of_its_interval_lies_beyond_the_margin(high: float, passed: bool) -> None:
    traits = {"age": np.array(["old"] * 60 + ["young"] * 60)}
    candidate, reference = np.full(120, 0.3), np.full(120, 0.4)
    result = [Estimate(-0.1, -0.2, high), Estimate(0.0, -0.1, 0.1)]
    old, young = results(traits, candidate, reference, result, GateThresholds(group_margin=0.05))
    assert (old.users, old.reference, old.candidate, old.judged) == (60, pytest.approx(0.4), pytest.approx(0.3), True)
    assert (old.passed, young.passed) == (passed, True)
