"""Published lists, with the rights of the API's role alone."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import URL, make_url, text

from infra.configuration.settings import Settings
from infra.database.engine import engine as engine_of
from infra.services.database_access import logins, role_rights
from infra.services.embedded_postgres import EmbeddedPostgres
from serving.stores.lists import NOBODY, BatchCodes, Listed, LiveBatches, PublishedLists
from serving.stores.postgres import Postgres
from tests.published import published, shelf
from tests.serving.made_up_shop import ANN, BOB, EVE, LIST, NEW, stock, write

pytestmark = pytest.mark.anyio


class Counting(Postgres):
    """Counts the statements."""

    statements = 0

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        self.statements += 1
        return await super().fetch(statement, *arguments)


class FailingOnce(Postgres):
    """Fails in a way that nobody foresaw."""

    failed = False

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        if not self.failed:
            self.failed = True
            raise ZeroDivisionError
        return await super().fetch(statement, *arguments)


@pytest.fixture
def url(database: str) -> Iterator[str]:
    engine = engine_of(database)
    stock(engine)
    yield database
    engine.dispose()


async def test_no_request_waits_for_a_read_that_failed_in_whatever_way(url: str) -> None:
    postgres = FailingOnce(url, 2, 5.0)
    lists = PublishedLists(postgres, BatchCodes(postgres, postgres))
    async with asyncio.timeout(20):
        failed = await asyncio.gather(*(lists.read("home", ANN) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in failed] == [ZeroDivisionError] * 3
        assert (await lists.read("home", ANN)).entries is not None
    await postgres.close()


async def test_the_lists_of_all_who_wait_are_read_by_few_statements(url: str) -> None:
    postgres = Counting(url, 2, 5.0)
    codes = BatchCodes(postgres, postgres)
    lists = PublishedLists(postgres, codes)
    await LiveBatches(postgres, codes).refresh()
    postgres.statements = 0
    users = [ANN, BOB, EVE, NEW, *(f"{n:064}" for n in range(60))]
    found = await asyncio.gather(*(lists.read("home", user) for user in users * 3))
    assert postgres.statements <= 3
    by_user = dict(zip(users, found, strict=False))
    assert by_user[ANN].standing.consented
    assert len(by_user[ANN].entries or ()) == len(LIST)
    eve = by_user[EVE]
    assert (eve.entries, eve.standing.known, eve.standing.consented) == (None, True, False)
    assert (by_user[NEW].entries, by_user[NEW].standing.consented) == (None, True)
    assert by_user[f"{7:064}"].standing == NOBODY
    await postgres.close()


async def test_suppressed_users_have_no_list_and_exclusions_come_with_the_standing(url: str) -> None:
    engine = engine_of(url)
    write(engine, "INSERT INTO suppressions (user_key, reason) VALUES (:key, 'erased')", key=BOB)
    write(engine, "INSERT INTO exclusions (user_key, kind, value) VALUES (:key, 'category', 'A|B')", key=ANN)
    postgres = Postgres(url, 2, 5.0)
    lists = PublishedLists(postgres, BatchCodes(postgres, postgres))
    bob, ann, item = await asyncio.gather(
        lists.read("home", BOB), lists.read("home", ANN), lists.read("similar-items", "item-00")
    )
    assert (bob.entries, bob.standing.consented) == (None, False)
    assert ann.standing.excluded == ("category:A|B",)
    assert item.entries is not None
    assert (await lists.read("nowhere", ANN)).batch_id is None
    await postgres.close()


def _texts(listed: Listed) -> list[tuple[str, str]]:
    return [(item, reason) for item, _, reason in listed.entries or ()]


async def test_codes_are_resolved_also_for_a_batch_that_is_not_in_memory(url: str) -> None:
    postgres = Counting(url, 2, 5.0)
    codes = BatchCodes(postgres, postgres)
    live = LiveBatches(postgres, codes)
    lists = PublishedLists(postgres, codes)
    stored = await lists.read("home", ANN)
    assert stored.batch_id is not None
    assert _texts(stored) == [(item, reason) for item, _, reason in LIST]
    await live.refresh()
    assert live.by_placement["home"].batch_id == stored.batch_id
    postgres.statements = 0
    assert _texts(await lists.read("home", ANN)) == _texts(stored)
    of_worker = BatchCodes(postgres, postgres, codes.known)
    await of_worker.load([stored.batch_id])
    assert _texts(await PublishedLists(postgres, of_worker).read("home", ANN)) == _texts(stored)
    assert postgres.statements == 2, "no statement but those of the lists"
    await of_worker.load([0])
    assert dict(of_worker.known[0].items) == {}, "no batch has this number"
    await asyncio.to_thread(published, engine_of(url), {ANN: LIST}, shelf("next", k=3))
    await live.refresh()
    assert stored.batch_id not in codes.known
    await postgres.close()


async def test_the_role_of_the_api_reads_lists_by_their_subject_and_not_the_table(
    url: str, postgres: EmbeddedPostgres, own_var: Any
) -> None:
    settings, own = Settings(var=own_var), make_url(url)
    role_rights.ensure(settings, make_url(postgres.url()), own, lambda _: None)
    login: URL = logins.login(settings, "serving", own)
    address = login.render_as_string(hide_password=False)
    role = Postgres(address, 2, 5.0)
    codes = BatchCodes(role, role)
    assert (await PublishedLists(role, codes).read("home", ANN)).entries is not None
    await LiveBatches(role, codes).refresh()
    await role.close()
    engine = engine_of(address)
    with engine.connect() as connection, pytest.raises(Exception, match="permission denied"):
        connection.execute(text("SELECT * FROM recommendations"))
    engine.dispose()
