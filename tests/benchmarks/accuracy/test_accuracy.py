"""Tests the accuracy benchmark from files to figures, on histories with a known right answer."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.readers import read
from benchmarks.accuracy.splits import Split, leave_one_out
from benchmarks.accuracy.tuning import STARTS, figures, measured, search, starts
from models import catalog

STEPS = 12


@pytest.fixture
def circle(tmp_path: Path) -> Path:
    """Return users who walk a circle of items, each from another start, so that the next item is certain."""
    lines = [f"u{start:02} " + " ".join(f"i{(start + step) % STEPS:02}" for step in range(6)) for start in range(STEPS)]
    file = tmp_path / "circle.txt"
    file.write_text("\n".join(lines))
    return file


def test_a_model_of_order_foresees_the_next_item_and_popularity_does_not(circle: Path) -> None:
    split = leave_one_out(read(circle), "test")
    next_only = {"window": 1, "backward": 0.0, "half_life_days": 0.5}
    result = measured("item_knn", next_only, split)
    assert result["hr_10"] == result["recall_20"] == result["ndcg_10"] == 1
    assert measured("most_popular", {}, split)["ndcg_10"] < 0.8


def test_items_that_a_user_has_had_are_masked(circle: Path) -> None:
    data = leave_one_out(read(circle), "test").data
    model = catalog.model_type("most_popular").fit(data, catalog.config("most_popular"), 0)
    assert figures(model, Split(data, data.history()))["hr_20"] == 0


def test_a_search_begins_with_the_sensible_settings_and_takes_the_best(circle: Path) -> None:
    split = leave_one_out(read(circle), "validation")
    result = search("item_knn", "sequences", split, minutes=0)
    assert result.trials == 1
    assert result.settings == starts("item_knn", "sequences")[0]
    assert (
        result.value
        == figures(
            catalog.model_type("item_knn").fit(split.data, catalog.config("item_knn", result.settings), 7), split
        )["ndcg_10"]
    )


@pytest.mark.parametrize("layout", ["sequences", "pairs"])
def test_every_start_is_a_whole_setting_of_the_models_space(layout: str) -> None:
    for kind in STARTS[layout]:
        for start in starts(kind, layout):
            assert set(start) == set(catalog.model_type(kind).space)
            assert asdict(catalog.config(kind, start)).items() >= start.items()


def test_the_command_writes_a_row_for_each_model(circle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = circle.with_name("rows.json")
    command = ["--path", str(circle), "--layout", "sequences", "--models", "most_popular,item_knn", "--minutes", "0"]
    assert main([*command, "--json", str(out)]) == 0
    rows = json.loads(out.read_text())
    assert [row["model"] for row in rows] == ["most_popular", "item_knn"]
    assert rows[1].keys() >= {"hr_10", "ndcg_10", "recall_20", "ndcg_20", "fit_s", "peak_mb", "settings"}
    assert all(0 <= row["ndcg_10"] <= row["hr_10"] <= 1 < row["peak_mb"] for row in rows)
    shown = capsys.readouterr().out
    assert "half_life_days=1.8" in shown
    gain = rows[1]["ndcg_10"] - rows[0]["ndcg_10"]
    assert f"NDCG@10 of item_knn over most_popular: {gain:+.4f} (" in shown


def test_users_with_many_items_begin_with_a_long_history() -> None:
    assert [start["length"] for start in starts("sequence", "sequences", is_long=True)] == [200, 50, 50]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--path", "nowhere.txt", "--layout", "sequences"], "nowhere.txt cannot be read"),
        (["--path", "nowhere.txt", "--layout", "pairs"], "--test"),
        (["--path", "nowhere.txt", "--layout", "sequences", "--models", "magic"], "no model 'magic'"),
    ],
)
def test_bad_input_is_complained_of_in_a_line(
    arguments: list[str], complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--minutes", "0"]) == 1
    values = capfd.readouterr().err
    assert complaint in values
    assert "Traceback" not in values
    assert len(values.splitlines()) == 1
