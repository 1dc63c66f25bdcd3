"""Archives of arrays are read by several threads."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.bundles.arrays import read_arrays, write_arrays


@pytest.fixture
def _switching_threads() -> Iterator[None]:
    """Let every collection of garbage, which Python 3.11 does while it parses too, hand over to another thread."""

    def hand_over(_phase: str, _info: object) -> None:
        time.sleep(0)

    thresholds = gc.get_threshold()
    gc.callbacks.append(hand_over)
    gc.set_threshold(11)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(hand_over)


@pytest.mark.usefixtures("_switching_threads")
def test_threads_that_read_arrays_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    arrays = {f"part{number}": np.arange(number, number + number % 9) for number in range(4000)}
    write_arrays(tmp_path / "arrays.npz", arrays)

    with (tmp_path / "arrays.npz").open("rb") as file:
        read = read_arrays(file)

    assert {name: array.tolist() for name, array in read.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
