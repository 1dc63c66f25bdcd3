import pytest

from models.primitives.time import moment


@pytest.mark.parametrize(
    ("at", "text"), [(0, "1970-01-01 00:00"), (86_399, "1970-01-01 23:59:59"), (86_400.0, "1970-01-02 00:00")]
)
def test_a_moment_has_its_seconds_if_a_minute_has_begun(at: float, text: str) -> None:
    assert moment(at) == text
