"""An experiment on the real servers: lists by variant, answers of the API, the report, and the end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from infra.services import state_file
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Shop

HOUSEHOLDS = [f"household-{number:04}" for number in range(1, 31)]
FIRST = "SELECT user_id, item_id FROM recommendations_by_user_id WHERE rank = 1 AND placement = 'home'"
CONTROL, TEST = "spring/control", "spring/test"
SPRING = f"""
    [spring]
    placements = ["home"]
    ends = {(datetime.now(UTC) + timedelta(days=20)).date()}
    variants.control = {{}}
    variants.test = {{ model = "best_sellers" }}
"""


@pytest.fixture(scope="module")
def client(stocked: Shop) -> Iterator[httpx.Client]:
    address = state_file.load(stocked.var)["api"].address
    key = stocked.json("keys", "create", "experiments", "--scope", "read")[0]["key"]
    with httpx.Client(base_url=str(address), headers={"Authorization": f"Bearer {key}"}) as opened:
        yield opened


def answers(client: httpx.Client) -> bool:
    try:
        return client.get(f"/v1/users/{HOUSEHOLDS[0]}/recommendations").status_code == 200
    except httpx.HTTPError:
        return False


def variants(client: httpx.Client) -> dict[str, Any]:
    """Return the variant in the answer of each household; None without one."""
    found = {}
    for household in HOUSEHOLDS:
        reply = client.get(f"/v1/users/{household}/recommendations", params={"k": "3"})
        assert reply.status_code == 200, reply.text
        found[household] = reply.json().get("variant")
    return found


def test_an_experiment_runs_from_its_file_to_its_report_and_ends_at_once(
    stocked: Shop, client: httpx.Client, tmp_path: Path
) -> None:
    file = tmp_path / "experiments.toml"
    file.write_text(SPRING)
    before = stocked.sql(
        "SELECT user_id, item_id FROM recommendations_by_user_id WHERE rank = 1 AND placement = 'home'"
    )
    started = stocked.run("experiments", "start", "spring", TAILORBIRD_EXPERIMENTS=str(file))
    assert "spring" in started
    (row,) = stocked.json("experiments", "list")
    assert (row["name"], row["state"], row["placements"]) == ("spring", "running", "home")
    until(lambda: None not in variants(client).values(), 15)
    first = variants(client)
    assert set(first.values()) == {CONTROL, TEST}
    tops = stocked.sql(FIRST)
    changed = {user for user, item in tops if [user, item] not in before}
    assert changed & set(HOUSEHOLDS) <= {user for user, variant in first.items() if variant == TEST}
    for household in HOUSEHOLDS[:10]:
        top = client.get(f"/v1/users/{household}/recommendations", params={"k": "1"}).json()["items"][0]["item_id"]
        assert [household, top] in tops
    stocked.kill("api")
    until(lambda: answers(client), 60)
    assert variants(client) == first
    readout = stocked.json("experiments", "read", "spring")
    assert sum(readout["people"].values()) == len(HOUSEHOLDS)
    assert readout["claims"]["test"].startswith("No change of clicks per impression")
    assert "/artifacts/" in readout["page"]
    (artifact,) = stocked.artifacts("the-experiment-spring")
    assert readout["claims"]["test"].split(" between")[0] in artifact["data"]
    shown = stocked.run("experiments", "read", "spring")
    assert "sample ratio" in shown
    stopped = stocked.run("experiments", "stop", "spring", "--reason", "enough is seen", "--actor", "ann")
    assert "stopped" in stopped
    until(lambda: set(variants(client).values()) == {None}, 10)
    after = stocked.sql(FIRST)
    assert sorted(after) == sorted(before)
    refused = stocked.run("experiments", "start", "spring", code=1, TAILORBIRD_EXPERIMENTS=str(file))
    assert "an experiment starts once" in refused
