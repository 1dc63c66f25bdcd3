"""The state of a server's process before its first request."""

import gc
import sys
from collections.abc import Iterator

import pytest

from serving.api.gate.workers import prepare
from serving.api.startup.warming import settle


@pytest.fixture
def unsettled() -> Iterator[None]:
    """Give the test's process its own settings back."""
    thresholds, turn = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(turn)


@pytest.mark.usefixtures("unsettled")
def test_until_the_first_request_nothing_is_collected_and_then_what_is_new_in_short_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    usual = sys.getswitchinterval()
    prepare()
    assert not gc.isenabled()
    during = sys.getswitchinterval()
    settle()
    assert gc.isenabled()
    assert len(gc.get_objects()) < 1_000, "what was there before is looked at"
    assert gc.get_threshold()[0] <= 1_000
    assert during < sys.getswitchinterval() < usual
