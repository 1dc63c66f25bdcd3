"""The clock of commands jumps by minutes, hours and weeks, forward and back, while the servers keep the right time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable
from sqlalchemy import text

from tests.faults.storm.clocks import Clock
from tests.faults.storm.running.steps import new_households
from tests.flows.conftest import Shop, cut_shop

if TYPE_CHECKING:
    from conftest import CommandStorm, Desk

pytestmark = pytest.mark.faults

ROUNDS, LONGEST, TRIES = 2, 0.5, 5
MODELS = ("--model", "most_popular", "--model", "own_frequency")
COUNTS = ("read", "accepted", "quarantined", "duplicate", "suppressed", "routed")
FUTURE = "SELECT count(*) FROM quarantine WHERE 'time_in_future' = ANY (rule_ids)"


@dataclass(frozen=True)
class Displaced(Shop):
    """The same shop, whose commands have a clock of their own."""

    clock: Clock | None = None

    @property
    def environment(self) -> dict[str, str]:
        assert self.clock is not None
        return super().environment | self.clock.environment


@pytest.fixture
def clock(storm: CommandStorm, tmp_path: Path) -> Clock:
    return Clock(tmp_path, storm.random)


@pytest.fixture
def displaced(stocked: Shop, clock: Clock) -> Iterator[Displaced]:
    """Commands run in processes that were forked from one with a clock of its own."""
    made = Displaced(stocked.var, stocked.data, stocked.ports, clock=clock)
    yield made
    if "_commands" in vars(made):
        vars(made).pop("_commands").end()


def state(desk: Desk, statement: str) -> Any:
    with desk.installation.engine.connect() as connection:
        return connection.execute(text(statement)).scalar_one()


def check_ledger(desk: Desk) -> int:
    """Assert that every row is in the ledger once and every accepted one in the lake once; return their number."""
    with desk.installation.engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM ingest_batches WHERE dataset = 'events'")).mappings().all()
    for row in rows:
        assert row["read"] == sum(row[name] for name in COUNTS[1:]), row
    table = desk.installation.lake.events()
    assert table is not None
    ids = table.to_pyarrow_table(columns=["event_id"])["event_id"]
    assert len(ids) == len(ids.unique()) == sum(row["accepted"] for row in rows)
    return len(ids)


def test_commands_whose_clock_jumps_lose_nothing_and_call_nothing_late(
    stocked: Shop, displaced: Displaced, desk: Desk, storm: CommandStorm, tmp_path: Path
) -> None:
    clock = displaced.clock
    assert clock is not None
    version = desk.ask()  # its deadline is days away
    known_versions = versions(desk)
    for number in range(ROUNDS):
        with storm.round(number), clock.jumping(LONGEST):
            files = str(cut_shop(tmp_path / f"cut-{number}", *new_households(160 + number)))
            before = check_ledger(desk)
            done(displaced, storm, "ingest", "complete_journey", files)
            after = check_ledger(desk)
            assert after > before
            stocked.run("ingest", "complete_journey", files)
            assert check_ledger(desk) == after
            assert state(desk, FUTURE) == 0
            made = json.loads(done(displaced, storm, "features", "--json"))
            assert stocked.json("features")["version"] == made["version"]
            for command in (("score", "home"), ("reconcile",), ("lake", "compact", "--keep-days", "1")):
                done(displaced, storm, *command)
            for known in known_versions:
                DeltaTable(f"{desk.installation.lake.root}/events", version=known).to_pyarrow_table()
            known_versions |= versions(desk)
            assert desk.review(version)["decision"] is None
            shown = {row["placement"]: row["state"] for row in displaced.json("status")["placements"]}
            assert shown["home"] == "fresh", shown
    storm.done["jumps"] = clock.jumps


def done(shop: Displaced, storm: CommandStorm, *arguments: str) -> str:
    """Run a command to its end; returns what it prints.

    libpq keeps its limits of time by the clock, and a jump may end them: then the command reports it, and is repeated.
    """
    for _ in range(TRIES):
        with shop.begin(*arguments) as command:
            code, out, err = command.ended()
        assert code in (0, 1), f"{arguments}\n{out}\n{err}"
        assert "Traceback" not in out + err, err
        storm.note("commands" if code == 0 else "ended with a sentence", " ".join(arguments))
        if code == 0:
            return out
        assert "timeout expired" in err, err
    raise AssertionError(f"{arguments} never ended well")


def versions(desk: Desk) -> set[int]:
    """Return the newest version of the events, which no compaction may remove."""
    table = desk.installation.lake.events()
    assert table is not None
    return {table.version()}


def test_no_lease_is_lost_and_no_deadline_passes_by_the_clock_of_a_process(
    displaced: Displaced, desk: Desk, storm: CommandStorm, tmp_path: Path
) -> None:
    clock = displaced.clock
    assert clock is not None
    (tmp_path / "other").mkdir()
    theirs = Clock(tmp_path / "other", storm.random)
    other = Displaced(displaced.var, displaced.data, displaced.ports, clock=theirs)
    version = desk.ask()
    with storm.round(0), other.begin("reconcile", "--watch", "--every", "1") as reconciler:
        for number in range(ROUNDS):
            files = str(cut_shop(tmp_path / f"cut-{number}", *new_households(120 + number)))
            displaced.run("ingest", "complete_journey", files)
            with clock.jumping(LONGEST), theirs.jumping(LONGEST):
                result = json.loads(done(displaced, storm, "retrain", *MODELS, "--minutes", "0.02", "--json"))
            assert result["review"] is not None, result
            fence = state(desk, f"SELECT fence FROM retrain_requests WHERE request_id = {result['request']}")
            assert fence == 1
            storm.note("retrainings", "")
        assert desk.review(version)["decision"] is None
        reconciler.kill()
        _, out, err = reconciler.ended()
        assert "Traceback" not in out + err
        assert [line for line in out.splitlines() if not line.startswith("The drift monitor is being calibrated")] == []
    vars(other).pop("_commands").end()
    storm.done["jumps"] = clock.jumps
