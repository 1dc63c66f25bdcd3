"""Searches are killed at any moment, with the processes that try settings, and are resumed by the same command."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import psutil
import pytest
from mlflow import MlflowClient
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from infra.database.schema.schema import search_results
from infra.installation import Installation
from infra.locks import is_locked
from infra.registry.client import RUN_KEY
from infra.registry.connection import NAME
from models.primitives.json_types import JsonObject
from tasks.tuning.study import INTERRUPTED, _storage, trial_settings
from tests.faults.storm.running.steps import FEW_TRIALS, SEARCH_STEPS, Work
from tests.waiting import until

if TYPE_CHECKING:
    from conftest import CommandStorm, Shop

    from tests.flows.forked import Command

pytestmark = pytest.mark.faults

KILLS, KILLS_A_ROUND, TRIALS = 24, 5, 8
NO_SETTINGS = " found no settings: "
"""The end of a search whose every setting was given up, such as one whose process was killed twice."""


def trial_processes(shop: Shop) -> list[psutil.Process]:
    """Return the processes that try settings for a search of the shop."""
    result = [
        p
        for p in psutil.process_iter(["cmdline", "environ"])
        if "tasks.tuning.trial_child" in (p.info["cmdline"] or ())
    ]
    return [p for p in result if (p.info["environ"] or {}).get("TAILORBIRD_VAR") == str(shop.var)]


class Searching:
    """One search of the shop, named by its seed."""

    def __init__(self, shop: Shop, storm: CommandStorm, number: int, span: float = 0.0) -> None:
        """`span` is the duration of an undisturbed search in seconds."""
        self.shop, self.storm, self.span = shop, storm, span
        options = ("--trials", str(TRIALS), "--workers", "2", "--seed", str(number))
        self.arguments = ("search", "--model", "als", *options, "--json")

    def start(self) -> Command:
        return self.shop.begin(*self.arguments)

    def kill_one(self) -> None:
        """Kill the command."""
        with self.start() as command:
            self.storm.wait(self.span)
            self.storm.kill(command, NO_SETTINGS)

    def kill_one_of_two(self) -> None:
        """Kill one of two commands that share the search; the other goes on."""
        with self.start() as first, self.start() as second:
            self.storm.wait(self.span)
            self.storm.kill(first, NO_SETTINGS)
            if self.storm.chance(0.5):
                self.storm.wait(self.span / 2)
                self.storm.kill(second, NO_SETTINGS)
            else:
                code, out, err = second.ended()
                assert code == 0 or NO_SETTINGS in err, f"{out}\n{err}"

    def kill_a_trial(self) -> None:
        """Kill a process that tries a setting, and then the command or not."""
        with self.start() as command:
            self.storm.wait(self.span)
            for process in trial_processes(self.shop)[:1]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
                    self.storm.note("kills of a trial")
            self.storm.wait(1.0)
            self.storm.kill(command, NO_SETTINGS)

    def finish(self) -> JsonObject | None:
        """Let the search come to its end; None when nothing was left to choose from."""
        with self.start() as command:
            code, out, err = command.ended()
        until(lambda: not trial_processes(self.shop), 15, "trial processes live on")
        if code and NO_SETTINGS in err:
            self.storm.note("found nothing")
            return None
        assert code == 0, f"{out}\n{err}"
        [result] = json.loads(out)
        return dict(result)


def check(live: Installation, result: JsonObject, many: int = TRIALS) -> None:
    """Every setting counts once, the result is stored once, and MLflow shows no run that goes on."""
    study = optuna.load_study(study_name=result["study"], storage=_storage(live))
    trials: list[FrozenTrial] = study.get_trials(deepcopy=False)
    counted = [t for t in trials if t.state != TrialState.WAITING and INTERRUPTED not in t.user_attrs]
    assert (len(counted), result["trials"], len(result["tried"])) == (many, many, many)
    assert all(trial.state.is_finished() for trial in trials if trial.state != TrialState.WAITING)
    settings = [trial_settings(trial) for trial in trials if trial in counted or trial.state == TrialState.WAITING]
    for trial in trials:
        if INTERRUPTED in trial.user_attrs and trial.params:
            assert settings.count(trial_settings(trial)) == 1, (trial, settings)
    check_runs(live, result, counted)
    version = result["dataset_version"]
    with live.engine.connect() as connection:
        query = (search_results.c.dataset_version == version, search_results.c.model == "als")
        [stored] = connection.execute(select(search_results).where(*query)).mappings().all()
    assert (stored["study"], stored["config"], stored["trials"]) == (result["study"], result["config"], many)
    locks = ["search: studies", *(f"search: {result['study']}{trial}" for trial in ("", *map(trial_lock, trials)))]
    assert [lock for lock in locks if is_locked(live.engine, lock)] == []


def trial_lock(trial: FrozenTrial) -> str:
    return f": trial {trial.number}"


def check_runs(live: Installation, result: JsonObject, counted: list[FrozenTrial]) -> None:
    """One run of the search; under it one for each trial that ended well, and none that goes on.

    A trial whose process was killed counts as one that failed, maybe before it had a run.
    """
    client = MlflowClient(live.endpoints.mlflow_tracking_uri)
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    [whole] = client.search_runs([experiment.experiment_id], f"tags.{RUN_KEY} = '{result['study']}'")
    assert (whole.info.run_id, whole.info.status) == (result["run_id"], "FINISHED")
    runs = client.search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{whole.info.run_id}'")
    names = Counter(run.info.run_name for run in runs)
    by_id = {run.info.run_id: run for run in runs}
    for trial in counted:
        if trial.state == TrialState.COMPLETE or "run_id" in trial.user_attrs:
            assert by_id[trial.user_attrs["run_id"]].info.run_name == f"trial {trial.number}"
    assert set(names.values()) == {1}, names
    assert [run.info.run_name for run in runs if run.info.status == "RUNNING"] == []


def test_a_search_that_is_killed_at_any_step_goes_on_from_there(
    stocked: Shop, live: Installation, storm: CommandStorm, tmp_path: Path
) -> None:
    searching = Work(live, tmp_path, "tests.faults.storm.running.steps.search")
    for place, step in enumerate(SEARCH_STEPS):
        with storm.round(place):
            seed = 1_000_000 + 100 * storm.seed + place
            assert searching.stopped(seed, step).kill()
            storm.note("kills", f"at {step}")
            options = ("--trials", str(FEW_TRIALS), "--seed", str(seed))
            [result] = stocked.json("search", "--model", "als", *options)
            check(live, result, FEW_TRIALS)


def test_a_search_that_is_killed_at_any_moment_counts_every_setting_once(
    stocked: Shop, live: Installation, storm: CommandStorm, kills: Callable[[int], int]
) -> None:
    wanted_kills, began = kills(KILLS), time.monotonic()
    undisturbed = Searching(stocked, storm, 1000 * storm.seed).finish()
    assert undisturbed is not None
    check(live, undisturbed)
    span = time.monotonic() - began
    for number in count(1000 * storm.seed + 1):
        with storm.round(number):
            search = Searching(stocked, storm, number, span)
            actions = [search.kill_one, search.kill_one, search.kill_one_of_two, search.kill_a_trial]
            before = storm.done["kills"]
            for _ in range(KILLS_A_ROUND):
                actions[storm.random.integers(len(actions))]()
                if storm.done["kills"] - before >= KILLS_A_ROUND or storm.done["kills"] >= wanted_kills:
                    break
            result = search.finish()
            if result is not None:
                check(live, result)
        if storm.done["kills"] >= wanted_kills:
            return
