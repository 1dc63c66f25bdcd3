"""Requests of people, by the commands and on the real services."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Shop

ONE = "household-0012"


def test_a_restricted_user_is_shown_nothing_until_the_restriction_is_lifted(stocked: Shop) -> None:
    shown = stocked.json("recommend", ONE)
    (line,) = stocked.json("privacy", "restrict", ONE, "--reason", "asked by mail")
    assert (line["kind"], line["state"], line["users"]) == ("restrict", "done", 1)
    assert stocked.json("recommend", ONE) != shown
    assert {"public.users", "identity.users, raw id"} <= {
        row["place"] for row in stocked.json("privacy", "verify", ONE)
    }
    stocked.json("privacy", "lift", ONE, "--reason", "asked again")
    assert stocked.json("recommend", ONE) == shown


def test_an_erasure_is_a_run_in_prefect_without_the_id(stocked: Shop) -> None:
    lines = stocked.json("privacy", "erase", "a-person-without-data", "--reason", "asked by mail")
    assert [line["state"] for line in lines if line["kind"] == "erase"] == ["done"]
    assert stocked.json("privacy", "verify", "a-person-without-data") == []
    asked = {"flows": {"name": {"any_": ["privacy"]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    runs = stocked.prefect("POST", "/flow_runs/filter", asked)
    assert len(runs) == 1
    assert "a-person-without-data" not in str(runs)
