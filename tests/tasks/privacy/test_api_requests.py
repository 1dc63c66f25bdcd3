"""Requests that the API records as its own role, and the deployment carries out: as if a command had made them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text

from infra.database.engine import engine
from infra.database.privacy_requests import Asked
from infra.database.schema.privacy_schema import ERASE, EXPORT, LIFT, RESTRICT
from infra.installation import Installation
from infra.keys.identity import pseudonym
from infra.services.database_access.logins import address
from serving.operations.privacy_requests import PrivacyRequests
from tasks.privacy import erase_users as module
from tasks.privacy.erase_users import erase_users
from tasks.privacy.export_user import store_exports
from tasks.privacy.requests import add_devices, ask, requests
from tests.database_roles import create_roles
from tests.tasks.privacy.stores import holding
from tests.tasks.stopped_steps import KilledError, ends_at

pytestmark = pytest.mark.anyio
OWNED = "INSERT INTO aliases (anonymous_key, user_key, batch_id) VALUES (:device, :owner, 'b')"


@pytest.fixture
def api(small: Installation) -> PrivacyRequests:
    """The API's own part, with the rights of the API."""
    with small.engine.begin() as connection:
        for name in ("u1", "u2"):
            key = pseudonym(name, small.key)
            connection.execute(text(OWNED), {"device": f"phone of {name}", "owner": key})
    create_roles(small)
    return PrivacyRequests(engine(address(small.settings, "serving")), 30)


def rows(database: Engine, table: str) -> set[Any]:
    with database.connect() as connection:
        return set(connection.execute(text(f"SELECT user_key, reason FROM {table}")).tuples())


def asked(small: Installation, kind: str, *names: str, suppress: bool = False) -> Asked:
    return Asked(kind, {pseudonym(name, small.key): name for name in names}, "ann", "asked by mail", suppress)


async def test_a_request_counts_at_once_and_reaches_the_devices_like_that_of_a_command(
    small: Installation, api: PrivacyRequests
) -> None:
    ask(small, RESTRICT, ["u1"], "ann", "asked by mail")
    expected = rows(small.engine, "suppressions")
    assert len(expected) == 2
    ask(small, LIFT, ["u1"], "ann", "asked by mail")
    made = await api.record(asked(small, RESTRICT, "u1"))
    assert made
    assert (made["state"], made["is_late"]) == ("open", False)
    assert rows(small.engine, "suppressions") == {one for one in expected if "phone" not in one[0]}
    add_devices(small)
    assert rows(small.engine, "suppressions") == expected
    assert (await api.find(made["number"]) or {})["state"] == "done"
    assert await api.record(asked(small, LIFT, "u1"))
    add_devices(small)
    assert rows(small.engine, "suppressions") == set()


async def test_a_lift_that_is_carried_out_late_ends_no_later_restriction(
    small: Installation, api: PrivacyRequests
) -> None:
    ask(small, RESTRICT, ["u1", "u2"], "ann", "asked by mail")
    await api.record(asked(small, LIFT, "u1", "u2"))
    await api.record(asked(small, RESTRICT, "u1"))
    add_devices(small)
    assert {key for key, _ in rows(small.engine, "suppressions")} == {pseudonym("u1", small.key), "phone of u1"}


@pytest.mark.parametrize("moment", [0, 1, 2, 3])
async def test_an_erasure_loses_no_device_when_it_is_killed(
    small: Installation, api: PrivacyRequests, moment: int
) -> None:
    made = await api.record(asked(small, ERASE, "u1", suppress=True))
    assert made
    assert made["suppress"]
    with pytest.MonkeyPatch.context() as patch:
        ends_at(patch, moment, [(module, "erase_tables"), (module, "_close")])
        with pytest.raises(KilledError):
            erase_users(small)
    erase_users(small)
    gone = {pseudonym("u1", small.key), "phone of u1"}
    assert holding(small, gone) == ["public.suppressions", "public.users"]
    assert rows(small.engine, "suppressions") == {(key, "asked by mail") for key in gone}
    assert [line["state"] for line in requests(small.engine)] == ["done"]
    await api.record(asked(small, ERASE, "u1"))
    assert await api.record(asked(small, LIFT, "u1")) is None, "the erasure waits"
    erase_users(small)
    assert {key for key, _ in rows(small.engine, "suppressions")} == gone, "another erasure ends no stay away"
    assert await api.record(asked(small, LIFT, "u1"))
    assert {key for key, _ in rows(small.engine, "suppressions")} == {"phone of u1"}


def test_requests_at_the_same_time_have_numbers_in_the_order_of_their_commits(
    small: Installation, api: PrivacyRequests
) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda number: asyncio.run(api.record(asked(small, ERASE, f"v{number}"))), range(20)))
    assert sorted(one["number"] for one in made if one) == list(range(1, 21))
    erase_users(small)
    assert {line["state"] for line in requests(small.engine)} == {"done"}
    assert rows(small.engine, "suppressions") == set()


async def test_the_api_gives_the_copy_once_it_is_made(small: Installation, api: PrivacyRequests) -> None:
    made = await api.record(asked(small, EXPORT, "u1"))
    assert made
    assert await api.file(made["number"]) is None
    store_exports(small)
    assert ((await api.find(made["number"]) or {})["has_file"], len(await api.page(5, 0))) == (True, 1)
    assert (await api.file(made["number"]) or b"").startswith(b"PK")
    await api.record(asked(small, ERASE, "u1"))
    assert await api.file(made["number"]) is None
