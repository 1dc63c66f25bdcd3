"""Promotions are killed at each step and at any moment; afterwards one version is the champion, whole and verified."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from infra.bundles.manifest import verify
from tasks.promotion.champion import CHAMPION
from tasks.reconciler.reconcile import reconcile_once
from tests.faults.storm.running.steps import DECISION_STEPS, Work

if TYPE_CHECKING:
    from conftest import CommandStorm, Desk

pytestmark = pytest.mark.faults

KILLS = 40
KINDS = ("own_frequency", "als", "segment_popular", "most_popular")
DECIDE = "tests.faults.storm.running.steps.decide"
COMMITTED = ("alias", "alias noted", "tag")
"""Steps after the commit of the promotion."""


@pytest.fixture
def deciding(desk: Desk, tmp_path: Path) -> Work:
    """Return processes that approve versions of the running shop."""
    return Work(desk.installation, tmp_path, DECIDE)


def request_decision(desk: Desk, number: int) -> int:
    """Request a decision about a version of another model than the champion, whose bundle is not stored yet."""
    turns = (desk.version(KINDS[(number + further) % len(KINDS)]) for further in (0, 1))
    champion = desk.champion()
    version = desk.ask(next(turn for turn in turns if desk.registry.version(turn).run_id != champion["run_id"]))
    digest = str(desk.review(version)["digest"])
    assert digest != champion["digest"]
    shutil.rmtree(Path(desk.installation.bundles) / digest, ignore_errors=True)
    return version


def check_chain(desk: Desk) -> None:
    """Each promotion replaced the one before it, and every bundle that can be seen is whole."""
    with desk.installation.engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM promotions ORDER BY promotion_id")).mappings().all()
    before = 0
    for row in rows:
        assert row["previous_promotion_id"] == before, rows
        before = row["promotion_id"]
    verify(Path(rows[-1]["bundle"]), rows[-1]["digest"])
    shown = {path.name for path in Path(desk.installation.bundles).iterdir() if not path.name.startswith(".")}
    for name in shown:
        verify(Path(desk.installation.bundles) / name, name)


def check(desk: Desk, version: int, before: int) -> None:
    """The version is the champion or the one before still is, and the reconciler makes MLflow agree."""
    check_chain(desk)
    decision, holder = desk.review(version)["decision"], desk.champion()["model_version"]
    assert (decision, holder) in {(None, before), ("approved", version)}
    reconcile_once()
    assert desk.champion()["model_version"] == holder
    assert desk.registry.aliases()[CHAMPION] == holder
    assert desk.champion()["alias_synced_at"] is not None
    assert (desk.registry.version(version).tags.get("review") == "approved") == (decision == "approved")


def check_promoted(desk: Desk, version: int) -> None:
    check(desk, version, version)
    assert desk.champion()["model_version"] == version
    remaining = [path.name for path in Path(desk.installation.bundles).iterdir() if path.name.startswith(".")]
    assert remaining == []


def test_a_promotion_that_is_killed_at_any_step_is_whole_or_did_not_happen(
    desk: Desk, deciding: Work, storm: CommandStorm
) -> None:
    for place, step in enumerate(DECISION_STEPS):
        with storm.round(place):
            before, version = desk.champion()["model_version"], request_decision(desk, place)
            assert deciding.stopped(version, step).kill()
            storm.note("kills", f"at {step}")
            assert (desk.champion()["model_version"] == version) == (step in COMMITTED), step
            check(desk, version, before)
            deciding.finish(version)
            check_promoted(desk, version)


def test_a_promotion_that_is_killed_at_any_moment_is_whole_or_did_not_happen(
    desk: Desk, deciding: Work, storm: CommandStorm, kills: Callable[[int], int]
) -> None:
    wanted_kills, version, began = kills(KILLS), request_decision(desk, 0), time.monotonic()
    deciding.finish(version)
    span = time.monotonic() - began
    for number in count(1):
        with storm.round(number):
            before, version = desk.champion()["model_version"], request_decision(desk, number)
            run = deciding.start(version)
            storm.wait(span)
            storm.note("kills" if run.kill() else "ended before the kill", f"{number}")
            check(desk, version, before)
            if storm.chance(0.5):
                deciding.finish(version)
                check_promoted(desk, version)
        if storm.done["kills"] >= wanted_kills:
            return
