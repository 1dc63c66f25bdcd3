"""Promises of docs/ingestion.md that no other test keeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from infra.identity import pseudonym
from infra.installation import Installation
from infra.schema import LEDGER, ingest_batches, items, users
from tasks.ingest_items import ingest_items
from tasks.ingest_users import ingest_users

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
