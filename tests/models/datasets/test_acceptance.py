import pytest

from models.datasets.acceptance import Acceptance, DatasetLimits
from models.errors import TailorbirdError


def test_checks_are_accepted_once_each_with_a_reason_and_a_name() -> None:
    result = Acceptance.of(["a ", "b", "a", " "], " the first export was a sample ", "ann")
    assert result == Acceptance(("a", "b"), "the first export was a sample", "ann")
    assert Acceptance.of([]) == Acceptance(accepted_by="unknown")


def test_no_check_is_accepted_without_a_reason() -> None:
    with pytest.raises(TailorbirdError, match="such as --reason"):
        Acceptance.of(["a"], "  ")


@pytest.mark.parametrize(
    ("name", "value"), [("smallest_ratio", 1.5), ("null_rise", -1), ("largest_ratio", 0.5), ("group_users", 1e9)]
)
def test_a_limit_that_nothing_can_keep_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        DatasetLimits(**{name: value})
