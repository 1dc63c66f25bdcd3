"""A shop's first week: an empty folder, three dirty CSV files, and the commands of the README as they stand there.

The tests are the days of the week in order; each goes on where the one before stopped.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pytest

from infra.configuration.settings import Settings
from infra.prefect_api.client import login_headers
from infra.services.endpoints import endpoints
from infra.services.http_client import request_json
from tests.docs.shown import commands_of
from tests.flows.bucket import bucket, upload
from tests.flows.conftest import WEEK_PORTS
from tests.flows.csv_shop import CsvShop, made
from tests.flows.new_shop import NewShop

README: Final = Path(__file__).parents[2] / "README.md"
SHORTER: Final = {"search": ["--trials", "1", "--folds", "1"]}
"""Options added to the README's commands, so that the week takes minutes."""
NIGHT: Final = """placements = "placements.toml"
lake = "s3://shop/lake"
schedules.score-nightly = "0 2 * * *"
"""
PLACEMENTS: Final = """
[home]
k = 10
rules.exclude = {{ items = ["{unwanted}"] }}

[evening]
k = 5
rules.pin = [{{ item = "no-such-item", place = 1 }}]

[alike]
subject = "item"
method = "similarity"
k = 4
"""


@dataclass(frozen=True)
class Week:
    """The shop's folder, its files, and the commands that a person types there."""

    shop: NewShop
    folder: Path
    files: CsvShop

    @cached_property
    def shown(self) -> list[list[str]]:
        """Return the commands that the README shows for data of one's own, in its order."""
        return [shlex.split(line) for line in commands_of(README, "## Your own data")]

    def type(self, *names: str) -> str:
        """Type the README's commands of these names, as they stand there; returns what they print."""
        chosen = [words for words in self.shown if words[0] in names]
        assert {words[0] for words in chosen} == set(names)
        return "".join(self.shop.run(*words, *SHORTER.get(words[0], [])) for words in chosen)

    def prefect(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer of the shop's Prefect."""
        services = endpoints(Settings(var=self.folder / "var"))
        headers, api = login_headers(services.environment), services.prefect_api_url.rstrip("/")
        return request_json(method, f"{api}{path}", headers, body)

    def planned(self, slug: str) -> dict[str, Any]:
        """Return a schedule as soon as Prefect has planned its next run, which takes seconds after a change."""
        deadline = time.monotonic() + 30
        while True:
            [row] = [row for row in self.shop.json("schedules", "list") if row["slug"] == slug]
            if row["next_run"]:
                return dict(row)
            assert time.monotonic() < deadline, row
            time.sleep(0.5)

    def nightly(self, deployment: str) -> str:
        """Start a deployment as its schedule does, and wait for its end; return the run."""
        target = self.prefect("GET", f"/deployments/name/{deployment}/{deployment}")["id"]
        body = {"state": {"type": "SCHEDULED"}}
        run = str(self.prefect("POST", f"/deployments/{target}/create_flow_run", body)["id"])
        deadline = time.monotonic() + 300
        while (state := self.prefect("GET", f"/flow_runs/{run}")["state"])["type"] != "COMPLETED":
            assert state["type"] in {"SCHEDULED", "PENDING", "RUNNING"}, state
            assert time.monotonic() < deadline, state
            time.sleep(0.5)
        return run

    def logged(self, run: str, message: str) -> bool:
        """Return whether a run's log has a message; its last lines reach Prefect after its end."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            lines = self.prefect("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
            if message in [line["message"] for line in lines]:
                return True
            time.sleep(0.5)
        return False

    def items_of(self, user: str) -> list[str]:
        """Return the items of a user's list on the home page."""
        return [row["item_id"] for row in self.shop.json("recommend", user)]

    def ledger(self) -> dict[str, int]:
        """Return the sums of the ledger; they add up."""
        sums: dict[str, int] = self.shop.json("status")["ledger"]
        parts = ("accepted", "quarantined", "duplicate", "suppressed", "routed")
        assert sums["read"] == sum(sums[part] for part in parts)
        return sums


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    """Return an empty folder with the first months of the shop's export beside it; end everything at the end."""
    folder = tmp_path_factory.mktemp("first-week")
    files = made(240, 260, seed=2027)
    files.write(folder, files.months[6])
    with pytest.MonkeyPatch.context() as patch, bucket() as address:
        patch.chdir(folder)
        for name, value in address.items():
            patch.setenv(name, value)
        week = Week(NewShop(folder / "var", folder, WEEK_PORTS), folder, files)
        yield week
        week.shop.end()


def test_a_first_mapping_and_a_settings_file_are_written_from_the_files(week: Week) -> None:
    week.type("init")
    with (week.folder / "tailorbird.toml").open("a") as settings:
        settings.write(week.shop.port_settings())
    assert (week.folder / "my_shop.toml").exists()


def test_the_check_reads_the_files_and_stores_nothing(week: Week) -> None:
    printed = week.type("check")
    assert "tailorbird ingest my_shop.toml" in printed
    assert not (week.folder / "var").exists()


def test_the_first_months_come_in_and_every_row_is_accounted_for(week: Week) -> None:
    week.type("up", "ingest")
    assert week.ledger()["accepted"] > 5_000


def test_growing_data_are_learned_from_and_the_best_model_is_promoted(week: Week) -> None:
    week.files.write(week.folder)
    week.type("ingest")
    week.type("features", "search", "train", "review")
    week.type("decide", "score")
    assert week.shop.json("status")["champion"]


def test_changed_rules_times_and_places_hold_in_the_run_of_the_night(week: Week) -> None:
    user = week.files.regular
    unwanted = week.items_of(user)[0]
    (week.folder / "placements.toml").write_text(PLACEMENTS.format(unwanted=unwanted))
    upload(week.folder / "var" / "lake", os.environ["AWS_ENDPOINT_URL"])
    settings = week.folder / "tailorbird.toml"
    settings.write_text(NIGHT + settings.read_text())
    week.shop.run("up")
    nightly = week.planned("score-nightly")
    assert (nightly["cron"], nightly["set_by"]) == ("0 2 * * *", "tailorbird.toml:3")
    assert datetime.fromisoformat(nightly["next_run"]).hour == 2
    run = week.nightly("score")
    shown = week.items_of(user)
    assert unwanted not in shown
    assert len(shown) == 10
    pin = "rules.pin.0.item: 'no-such-item' is not in the catalogue, or newer than the champion; the pin is ignored"
    assert week.logged(run, f"evening: {pin}")
    of_run = {"artifacts": {"key": {"any_": ["ignored-rules"]}, "flow_run_id": {"any_": [run]}}}
    assert "no-such-item" in str(week.prefect("POST", "/artifacts/filter", of_run))
    live = "SELECT placement, k FROM placements JOIN recommendation_batches USING (batch_id, placement)"
    rows = week.shop.sql(f"{live} WHERE placement IN ('evening', 'alike') ORDER BY 1")
    assert rows == [["alike", "4"], ["evening", "5"]]


def test_a_rollback_shows_the_lists_of_the_evening_again(week: Week) -> None:
    week.shop.run("rollback", "recommendations", "home", "--reason", "the new rule was a mistake")
    assert len(week.items_of(week.files.regular)) == 20


def test_an_undo_takes_out_what_the_source_brought_and_the_same_files_come_in_again(week: Week) -> None:
    before = week.ledger()["accepted"]
    printed = week.shop.run("ledger", "undo", "--source", "my_shop", "--reason", "a trial", "--yes")
    assert "Next: tailorbird ingest" in printed
    assert week.ledger()["accepted"] == 0
    week.type("ingest")
    assert week.ledger()["accepted"] == before
