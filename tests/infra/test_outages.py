from urllib.error import HTTPError, URLError

import pytest

from infra.outages import explain


@pytest.mark.parametrize(
    "said",
    ["Failed to reach API at http://127.0.0.1:1/api/", "Cannot create flow run. Failed to reach API at http://x."],
)
def test_prefect_that_cannot_be_reached_is_said_in_a_sentence(said: str) -> None:
    told = explain(RuntimeError(said))
    assert told is not None
    assert told.startswith("Prefect cannot be reached.")
    assert "run the command again" in told


def test_any_other_runtime_error_is_a_defect() -> None:
    assert explain(RuntimeError("it failed")) is None


def test_prefect_that_is_asked_without_its_client_is_no_other_case() -> None:
    told = explain(URLError(ConnectionRefusedError(111, "Connection refused")))
    assert told is not None
    assert told.startswith("Prefect cannot be reached ([Errno 111] Connection refused).")
    assert explain(HTTPError("http://x", 422, "what?", {}, None)) is None  # type: ignore[arg-type]
