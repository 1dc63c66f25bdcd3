from datetime import UTC, date, datetime

import pytest

from models.cuts import Cuts, cuts
from models.errors import TailorbirdError

DAY = 86_400
NEW_YEARS_EVE = int(datetime(2017, 12, 31, tzinfo=UTC).timestamp())


@pytest.mark.parametrize("second", [0, 1, DAY - 1])
def test_the_data_set_ends_as_the_day_of_the_newest_event_begins(second: int) -> None:
    found = cuts(NEW_YEARS_EVE + second, None, 30, 31)
    assert found == Cuts(NEW_YEARS_EVE - 61 * DAY, NEW_YEARS_EVE - 31 * DAY, NEW_YEARS_EVE)


def test_a_day_that_is_asked_for_wins() -> None:
    found = cuts(NEW_YEARS_EVE, date(2017, 3, 1), 1, 2)
    assert [datetime.fromtimestamp(cut, UTC).date().isoformat() for cut in found.all()] == [
        "2017-02-26",
        "2017-02-27",
        "2017-03-01",
    ]
    assert found.as_dict() == dict(zip(("validation_from", "test_from", "as_of"), found.all(), strict=True))


@pytest.mark.parametrize(("validation_days", "test_days"), [(0, 31), (30, 0), (-1, 31)])
def test_without_held_out_days_nothing_can_be_measured(validation_days: int, test_days: int) -> None:
    with pytest.raises(TailorbirdError, match="at least 1"):
        cuts(NEW_YEARS_EVE, None, validation_days, test_days)
