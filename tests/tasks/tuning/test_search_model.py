"""The result of a search of several models if some searches failed."""

from dataclasses import dataclass
from typing import Any

import pytest
from prefect.states import Completed, Failed, State

from models.tuning.study_config import OutOfTimeError, SearchError
from tasks.tuning.search_model import Deadline, successful_searches
from tasks.tuning.worker import StopCondition

LATE, FAILED = OutOfTimeError("The search of als found no settings: time"), SearchError("The search of als failed")


def test_a_model_that_ran_out_of_time_is_reported_beside_what_others_found(capsys: pytest.CaptureFixture[str]) -> None:
    states: list[State[Any]] = [Completed(data={"model": "item_knn"}), Failed(data=LATE)]
    assert successful_searches(states) == [{"model": "item_knn"}]
    assert str(LATE) in capsys.readouterr().err


@pytest.mark.parametrize("failures", [[LATE], [LATE, LATE], [FAILED]])
def test_a_search_that_found_nothing_or_failed_raises(failures: list[SearchError]) -> None:
    successful: list[State[Any]] = [] if LATE in failures else [Completed(data={"model": "item_knn"})]
    with pytest.raises(SearchError, match=str(failures[0])):
        successful_searches([*successful, *(Failed(data=failure) for failure in failures)])


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_models_share_what_is_left_and_leave_what_they_do_not_use() -> None:
    clock = Clock()
    deadline = Deadline(180.0, clock)
    assert deadline.share(3) == pytest.approx(1.0)
    clock.now += 20
    assert deadline.share(2) == pytest.approx(80 / 60)
    clock.now += 130
    assert deadline.share(1) == pytest.approx(0.5)
    clock.now += 100
    assert (deadline.share(1), deadline.over()) == (pytest.approx(1 / 60), True)


@pytest.mark.parametrize(
    ("opening", "storing", "trials"),
    [(4.0, 10.0, 46.0), (4.0, 15.0, 41.0), (12.0, 10.0, 36.0), (4.0, 90.0, 36.0), (59.0, 10.0, 0.0)],
    ids=["as usual", "as measured", "a slow machine", "never all of it", "nothing left"],
)
def test_time_to_store_is_kept_from_what_was_measured(opening: float, storing: float, trials: float) -> None:
    clock = Clock()
    deadline = Deadline(60.0, clock, storing)
    clock.now += opening
    assert deadline.for_trials(opening) == pytest.approx(trials)


def test_without_minutes_nothing_ends() -> None:
    clock = Clock()
    deadline = Deadline(None, clock)
    clock.now += 1e6
    assert (deadline.share(3), deadline.for_trials(5), deadline.over()) == (None, None, False)


def test_a_model_that_found_nothing_may_take_the_time_of_others() -> None:
    deadline = Deadline(60.0, Clock())
    assert deadline.for_trials(4.0, longer=120.0) == pytest.approx(170.0)
    for measured, over in ((False, False), (True, True)):
        end = StopCondition(60.0, 170.0, measured)
        end.began -= 100
        assert end.reached() is over
        assert end.share() == pytest.approx(1.0 if measured else 100 / 170, abs=0.01)  # the time that it may take
    assert StopCondition(0.0, None).reached()
    assert not StopCondition(None).reached()
