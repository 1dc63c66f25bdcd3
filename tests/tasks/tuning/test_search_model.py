"""The result of a search of several models if some searches failed."""

from typing import Any

import pytest
from prefect.states import Completed, Failed, State

from models.tuning.study_config import OutOfTimeError, SearchError
from tasks.tuning.search_model import successful_searches

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
