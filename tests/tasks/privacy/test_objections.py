"""A person refuses personal lists in one placement, and keeps those of the others."""

import csv
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from infra.configuration.settings import load
from infra.database.schema.privacy_schema import OBJECT, RESTRICT, WITHDRAW
from infra.installation import Installation
from infra.services.database_access.logins import address
from serving.queries.explain import explain
from serving.queries.export_lists import export_lists
from serving.queries.user_recommendations import user_list, why_empty
from serving.stores.stores import Stores
from tasks.privacy.requests import ask
from tasks.scoring.score_placement import score_placement
from tests.database_roles import create_roles
from tests.tasks.privacy.stores import keys_of, person

pytestmark = pytest.mark.anyio
LIVE = """
    SELECT user_key FROM keep_live_lists(jsonb_build_array(jsonb_build_object('placement', CAST(:name AS text),
        'user_key', CAST(:key AS text), 'batch_id', (SELECT batch_id FROM placements WHERE placement = :name),
        'model_version', 1, 'rules_version', 0, 'items', '["i"]'::jsonb, 'scores', '[1]'::jsonb,
        'reasons', '["r"]'::jsonb, 'occurred_at', now(), 'expires_at', now() + interval '1 hour')))"""


def exported(here: Installation, placement: str, file: Path) -> set[str]:
    """The users in the file of a placement."""
    export_lists(here.engine, placement, file)
    rows = [*csv.DictReader(file.read_text().splitlines())]
    file.unlink()
    return {row["user_id"] for row in rows}


async def served(here: Installation, placement: str, key: str) -> tuple[bool, bool]:
    """Whether the API has a list for the user, and may answer personally."""
    stores = Stores(address(here.settings, "serving"), request_seconds=3.0)
    async with stores.running():
        listed = await stores.lists.of_user(placement, key)
        known = await stores.requests.fetch("SELECT * FROM known_of_user($1, $2) WHERE user_key <> ''", placement, key)
    assert listed.standing.consented or not known
    return listed.entries is not None, listed.standing.consented


def stored(here: Installation, statement: str, **values: str) -> list[Any]:
    with here.engine.begin() as connection:
        return list(connection.execute(text(statement), values).scalars())


async def test_an_objection_reaches_every_way_to_a_list_of_its_placement_and_no_other(
    published: Any, tmp_path: Path
) -> None:
    here, one = published.here, person(published, 3)
    key = keys_of(here)[one]
    score_placement.fn("email", k=5)
    create_roles(here)
    everybody, home = exported(here, "email", tmp_path / "e.csv"), user_list(here.engine, one)
    assert await served(here, "email", key) == (True, True)
    item = user_list(here.engine, one, "email")[0]["item_id"]

    ask(here, OBJECT, [one], "ann", "asked by mail", purpose="email")
    assert user_list(here.engine, one, "email") == []
    assert exported(here, "email", tmp_path / "e.csv") == everybody - {one}
    assert await served(here, "email", key) == (False, False)
    assert stored(here, LIVE, name="email", key=key) == []
    assert "objects to personal lists" in why_empty(here.engine, load(), one, "email")
    assert "objects to personal lists" in explain(here.engine, one, item, "email")["why"]
    assert user_list(here.engine, one) == home
    assert await served(here, "home", key) == (True, True)
    assert stored(here, LIVE, name="home", key=key) == [key]
    stored(here, "DELETE FROM live_recommendations RETURNING user_key")

    lists = "SELECT subject FROM recommendations WHERE subject = :key AND batch_id = ("
    lists += "SELECT batch_id FROM placements WHERE placement = :name)"
    score_placement.fn("email", k=5)
    assert stored(here, lists, name="email", key=key) == []
    score_placement.fn("home", k=5)
    assert stored(here, lists, name="home", key=key) == [key]

    ask(here, WITHDRAW, [one], "ann", "asked again", purpose="email")
    score_placement.fn("email", k=5)
    assert exported(here, "email", tmp_path / "e.csv") == everybody
    assert await served(here, "email", key) == (True, True)


def test_a_restriction_outlives_the_end_of_an_objection(published: Any) -> None:
    here, one = published.here, person(published, 3)
    ask(here, RESTRICT, [one], "ann", "asked by mail")
    ask(here, OBJECT, [one], "ann", "asked by mail", purpose="home")
    ask(here, WITHDRAW, [one], "ann", "asked again", purpose="home")
    assert user_list(here.engine, one) == []
    assert "suppressed" in why_empty(here.engine, load(), one, "home")
