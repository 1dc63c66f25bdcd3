"""Plots of a search, of few trials as well as of many."""

import warnings
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from tasks.tuning.mlflow_record import plots


@pytest.mark.parametrize("objectives", [["ndcg"], ["ndcg", "coverage"]])
def test_few_trials_are_drawn_without_a_warning_of_the_library(tmp_path: Path, objectives: list[str]) -> None:
    study = optuna.create_study(directions=["maximize"] * len(objectives))
    space = {"factor": FloatDistribution(0, 1)}
    for value in (0.2, 0.7):
        trial = create_trial(params={"factor": value}, distributions=space, values=[value] * len(objectives))
        study.add_trial(trial)

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        skipped = plots(study, objectives, tmp_path, lambda: False)

    assert skipped == []
    assert (tmp_path / "importance.png").exists()
    assert not [one for one in shown if "optuna" in one.filename or "Importances" in str(one.message)]
