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
def test_collections_look_at_few_objects_and_at_none_that_was_there_before() -> None:
    settle()
    assert len(gc.get_objects()) < 1_000
    looks: list[int] = []

    def look(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            looks.append(len(gc.get_objects(generation=info["generation"])))

    gc.callbacks.append(look)
    kept = [[number] for number in range(20_000)]  # such as answers that stay in memory
    gc.callbacks.remove(look)
    assert len(kept) == 20_000
    assert len(looks) >= 10
    assert max(looks) < 3_000


@pytest.mark.usefixtures("unsettled")
def test_until_the_first_request_nothing_is_collected_and_threads_take_turns_most_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    usual = sys.getswitchinterval()
    prepare()
    assert not gc.isenabled()
    during = sys.getswitchinterval()
    settle()
    assert gc.isenabled()
    assert during < sys.getswitchinterval() < usual
