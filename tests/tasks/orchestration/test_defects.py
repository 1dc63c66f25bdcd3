import pickle
import traceback

import pytest
from prefect import task
from sqlalchemy.exc import OperationalError

from models.errors import TailorbirdError
from tasks.orchestration.guards import DefectError, without_values

SECRET = "ann@mail.example"


def failing(error: Exception) -> None:
    @without_values
    def step() -> None:
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            raise error from cause

    step()


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), KeyError(SECRET), UnicodeDecodeError("utf-8", b"ann@", 0, 1, "x")]
)
def test_a_defect_is_reported_by_kind_and_place_alone(error: Exception) -> None:
    with pytest.raises(DefectError) as raised:
        failing(error)
    shown = "".join(traceback.format_exception(raised.value))
    assert type(error).__name__ in str(raised.value)
    assert "tasks/orchestration/guards.py:" in str(raised.value)
    assert "ann@" not in shown
    assert b"ann@" not in pickle.dumps(raised.value)


def test_own_errors_and_outages_pass_as_they_are() -> None:
    for error in (TailorbirdError("a sentence"), OperationalError("SELECT 1", {}, Exception("gone"))):
        with pytest.raises(type(error)):
            failing(error)


def test_a_step_keeps_its_name_and_its_parameters_for_prefect() -> None:
    @task
    @without_values
    def ingest(mapping: str, file: str = "a") -> str:
        """Doc."""
        return mapping + file

    assert (ingest.name, ingest.fn("x")) == ("ingest", "xa")
    assert list(ingest.parameters.properties) == ["mapping", "file"] if hasattr(ingest, "parameters") else True
