"""Tests the comparison of models on events with times, from a file to gains."""

import json
from pathlib import Path

import pytest

from benchmarks.accuracy.over_time import main, read_timed, timed_dataset
from benchmarks.accuracy.readers import BadFileError
from models.primitives.time import DAY

DAYS = 40


@pytest.fixture
def weekly(tmp_path: Path) -> Path:
    """Return users who take their own two items every fourth day, and rarely one of all."""
    rows = [
        f"u{user} {item} {day * DAY}"
        for user in range(12)
        for day in range(user % 4, DAYS, 4)
        for item in (f"own{user}", f"own{user + 1}", f"i{(user + day) % 7}")
    ]
    file = tmp_path / "events.txt"
    file.write_text("\n".join(rows))
    return file


def test_the_last_model_is_compared_with_the_others(weekly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = weekly.with_name("rows.json")
    models = ["--models", "most_popular,own_frequency", "--minutes", "0", "--days", "8"]
    assert main(["--path", str(weekly), *models, "--json", str(out)]) == 0
    popular, own = json.loads(out.read_text())
    assert own["ndcg_at_10"] > popular["ndcg_at_10"]
    assert popular["gain_ndcg_at_10"].startswith("+")
    assert own["gain_ndcg_at_10"] == ""
    assert "own_frequency against each other model" in capsys.readouterr().out


def test_times_are_seconds_or_dates_of_utc(tmp_path: Path) -> None:
    file = tmp_path / "events.txt"
    file.write_text("a x 86400\na y 1970-01-02T00:00:00\na z 1970-01-02T01:00:00+01:00\n")
    assert read_timed(file)["occurred_at"].to_pylist() == [DAY] * 3


@pytest.mark.parametrize(("text", "complaint"), [("a x", "line 1"), ("a x noon", "noon"), ("", "no events")])
def test_other_files_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "events.txt"
    file.write_text(text)
    with pytest.raises(BadFileError, match=complaint):
        read_timed(file)


def test_the_test_comes_after_the_validation_and_both_after_the_rest(weekly: Path) -> None:
    cuts = timed_dataset(read_timed(weekly), 8).cuts
    assert cuts.as_of - cuts.test_from == cuts.test_from - cuts.validation_from == 8 * DAY
    with pytest.raises(BadFileError, match="span less than 80 days"):
        timed_dataset(read_timed(weekly), DAYS)
