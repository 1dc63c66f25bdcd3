import psutil

from benchmarks.models.beside_load import _BUSY, _figures, _pairs, slowdowns
from models.datasets.dataset import Dataset
from tests.models.conftest import CUTS, make_shop


def busy() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.cmdline() == list(_BUSY)]


def test_the_second_measurement_of_each_round_runs_beside_a_busy_process_that_ends_with_it() -> None:
    seen: list[int] = []
    pairs = _pairs(lambda: lambda: seen.append(len(busy())), 3)
    assert seen == [0, 1, 0, 1, 0, 1]
    assert busy() == []
    figures = _figures("fit", pairs)
    slower = sorted(pair.disturbed.wall / pair.undisturbed.wall for pair in pairs)
    names = ("slowdown_beside_load_low", "slowdown_beside_load", "slowdown_beside_load_high")
    assert [figures[f"fit: {name}"] for name in names] == slower


def test_learning_and_making_lists_are_measured() -> None:
    figures = slowdowns(Dataset(CUTS, *make_shop(1)), 1, 7)
    assert all(figures[f"{work}: slowdown_beside_load"] > 0 for work in ("fit", "score"))
