"""Promises of docs/ingestion.md that no other test keeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from infra.identity import pseudonym
from infra.installation import Installation
from infra.schema import LEDGER, ingest_batches, items, users
from tasks.dataset_events import workspace
from tasks.dataset_known import known_now
from tasks.histories import hidden
from tasks.ingest_events import ingest_events
from tasks.ingest_items import ingest_items
from tasks.ingest_users import ingest_users
from tasks.replay_quarantine import replay_quarantine
from tests.tasks.test_order_of_files import forget_all

_HEAD = 'consent = "given"\nconsent_note = "by contract"\n'
_CATALOGUE = '[items]\nfile = "*.csv"\nitem_id = "item"\ntitle = "title"\nfill = { category = "Goods" }\n'
_USERS = '[users]\nfile = "*.csv"\nuser_id = "user"\nattributes = ["plan"]\n'


class Team:
    """Exports of a team, source by source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mapping(self, source: str, text: str) -> str:
        path = self.folder / f"{source}.toml"
        path.write_text(_HEAD + text)
        return str(path)

    def file(self, name: str, header: str, lines: Sequence[str]) -> str:
        path = self.folder / f"{name}.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return str(path)

    def items(self, source: str, titles: Mapping[str, str], name: str = "", extra: str = "") -> dict[str, Any]:
        lines = [f"{item},{title}" for item, title in titles.items()]
        mapping, file = self.mapping(source, _CATALOGUE + extra), self.file(name or source, "item,title", lines)
        return added_up(ingest_items.fn(mapping, file))

    def users(self, source: str, plans: Mapping[str, str]) -> dict[str, Any]:
        lines = [f"{user},{plan}" for user, plan in plans.items()]
        return added_up(ingest_users.fn(self.mapping(source, _USERS), self.file(source, "user,plan", lines)))


def added_up(line: dict[str, Any]) -> dict[str, Any]:
    assert line["read"] == sum(line[name] for name in LEDGER if name != "read")
    return line


@pytest.fixture
def team(installation: Installation, tmp_path: Path) -> Team:  # noqa: ARG001 - it has to be there
    folder = tmp_path / "export"
    folder.mkdir()
    return Team(folder)


def titles(here: Installation) -> dict[str, str]:
    with here.engine.connect() as connection:
        return dict(connection.execute(select(items.c.item_id, items.c.title)).tuples().all())


def plans(here: Installation, *names: str) -> dict[str, str]:
    with here.engine.connect() as connection:
        found = dict(connection.execute(select(users.c.user_key, users.c.attributes)).tuples().all())
    return {name: found[pseudonym(name, here.key)].get("plan") for name in names}


def batches(here: Installation) -> int:
    with here.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(ingest_batches)).scalar_one()


def test_a_table_is_taken_again_after_another_source_changed_what_it_holds(
    installation: Installation, team: Team
) -> None:
    shop = {"cup": "Cup", "pan": "Pan"}
    team.items("shop", shop)
    team.items("supplier", {"cup": "CUP 0.2L"})
    assert titles(installation) == {"cup": "CUP 0.2L", "pan": "Pan"}
    assert team.items("shop", shop)["status"] == "committed"
    assert titles(installation) == shop
    assert team.items("supplier", {"cup": "CUP 0.2L"})["status"] == "committed"
    assert titles(installation)["cup"] == "CUP 0.2L"

    team.users("shop", {"ann": "gold"})
    team.users("crm", {"ann": "red"})
    team.users("shop", {"ann": "gold"})
    assert plans(installation, "ann") == {"ann": "gold"}


def test_a_table_is_taken_again_after_another_file_of_its_own_source(installation: Installation, team: Team) -> None:
    team.items("shop", {"cup": "Cup"}, "monday")
    team.items("shop", {"cup": "Mug"}, "tuesday")
    team.items("shop", {"cup": "Cup"}, "monday")
    assert titles(installation) == {"cup": "Cup"}


def test_a_table_that_says_nothing_new_makes_no_batch(installation: Installation, team: Team) -> None:
    first = team.items("shop", {"cup": "Cup"})
    team.items("supplier", {"pan": "Pan"})
    team.users("crm", {"ann": "gold"})
    for _ in range(2):
        again = team.items("shop", {"cup": "Cup"}, "renamed")
        assert again == first | {"status": "unchanged"}
        assert team.users("crm", {"ann": "gold"})["status"] == "unchanged"
    assert batches(installation) == 3


def test_what_is_not_merchandise_stays_so_when_another_source_does_not_say(
    installation: Installation, team: Team
) -> None:
    marked = 'category = ["kind"]\nnot_merchandise = ["FUEL"]\n'
    mapping = team.mapping("shop", _CATALOGUE.replace('fill = { category = "Goods" }\n', marked))

    def ingest(name: str, kind: str) -> None:
        ingest_items.fn(mapping, team.file(name, "item,title,kind", [f"oil,Oil,{kind}"]))

    ingest("shop", "FUEL")
    team.items("supplier", {"oil": "Oil 1 l", "cup": "Cup"})
    assert (titles(installation)["oil"], merchandise(installation)) == ("Oil 1 l", {"cup"})
    ingest("corrected", "KITCHEN")
    assert merchandise(installation) == {"cup", "oil"}


def merchandise(here: Installation) -> set[str]:
    with here.engine.connect() as connection:
        return set(connection.execute(select(items.c.item_id).where(items.c.available)).scalars())


_EVENTS = """unknown_items = "accept"
[events]
file = "e*.csv"
event_id = "id"
user_id = "user"
item_id = "item"
occurred_at = "at"
constants = { event_type = "purchase" }
"""


@pytest.mark.parametrize("policy", ["accept", "quarantine"])
def test_what_counts_of_services_is_the_same_whichever_file_comes_first(
    installation: Installation, team: Team, policy: str
) -> None:
    """Postage is routed if it is known, and else stored or quarantined; it counts in neither case."""
    goods = ["cup", *(f"item{number}" for number in range(40))]
    sold = [*goods, "post"]
    lines = [f"{place},u{place % 3},{item},2024-06-01T10:00:{place:02}Z" for place, item in enumerate(sold)]
    mapping = team.mapping(
        "shop", _EVENTS.replace("accept", policy) + _CATALOGUE + "not_merchandise = \"item = 'post'\"\n"
    )
    events, catalogue = (
        team.file("events", "id,user,item,at", lines),
        team.file("items", "item,title", [f"{item},Title" for item in sold]),
    )
    found = []
    for catalogue_first in (True, False):
        forget_all(installation)
        if catalogue_first:
            ingest_items.fn(mapping, catalogue)
        elif policy == "quarantine":
            ingest_items.fn(mapping, team.file("goods", "item,title", [f"{item},Title" for item in goods]))
        line = added_up(ingest_events.fn(mapping, events))
        ingest_items.fn(mapping, catalogue)
        line = replay_quarantine.fn(line["batch_id"])
        place = "routed" if catalogue_first or policy == "quarantine" else "accepted"
        assert (line["read"], line["quarantined"], line[place]) == (42, 0, 42 if place == "accepted" else 1)
        found.append(counting(installation))
    assert found[0] == found[1]
    assert found[0]["data set"] == found[0]["bought"] == sorted(goods)


def counting(here: Installation) -> dict[str, list[str]]:
    """The items whose events a data set is made of, and those that lists take for bought."""
    with workspace(here, known_now(here), here.lake.event_files()) as space:
        learned = [space.names["item_id"][code].as_py() for (code,) in space.connection.sql(_LEARNED).fetchall()]
    everything = np.array(sorted(titles(here)), dtype=np.str_)
    people = np.array(sorted(pseudonym(f"u{number}", here.key) for number in range(3)), dtype=np.str_)
    taken = hidden(here, people, everything, {"purchase": "ever"})
    return {"data set": sorted(learned), "bought": everything[np.unique(taken.indices)].tolist()}


_LEARNED = "SELECT DISTINCT item_id FROM events"
