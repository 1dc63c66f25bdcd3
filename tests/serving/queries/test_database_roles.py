"""Each question that commands ask is answered to the database role they connect as."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Engine, text

from infra.bundles.manifest import BundleRefusedError
from infra.configuration.placements import configured
from infra.configuration.settings import load
from infra.database.engine import engine
from infra.installation import Installation
from infra.lake import compaction
from infra.overview.situation import require_champion, step
from infra.services.database_access import logins
from infra.services.database_access.grants import OPERATOR, READER, SERVING, Role
from models.lists.rules.layer.rule_layer import HiddenItem
from serving.answers.service import UNKNOWN_ITEMS
from serving.api.gate.keyring import Keyring, RecordedKeys
from serving.events.message import item_message
from serving.events.store import ANY_IS_NEW, store
from serving.operations.report_reader import ReportReader
from serving.operations.reports import Paging
from serving.queries import ledger
from serving.queries.basket_recommendations import basket_recommendations
from serving.queries.explain import explain
from serving.queries.status import drift, status
from serving.queries.user_recommendations import UnknownUserError, example_users, require_user_key, user_list, why_empty
from serving.stores.postgres import Postgres, connection_options
from tests.database_roles import create_roles
from tests.published import published
from tests.published import shelf as batch
from tests.serving.events.inbox_database import click
from tests.serving.operator_rules import store as store_rules

Roles = Callable[[Role], Engine]
PROMOTION = """
    INSERT INTO promotions (previous_promotion_id, model_version, kind, dataset_version, metrics, bundle, digest,
        actor, reason)
    VALUES (0, 1, 'als', 'v1', '{}', '/nonexistent', 'd', 'me', 'why')
"""


@pytest.fixture
def role(installation: Installation) -> Iterator[Roles]:
    """The database as a role: one user with a list, one item, a promotion, and a batch with a row in quarantine."""
    with installation.engine.begin() as connection:
        for statement in (
            "INSERT INTO identity.users VALUES ('k', 'raw', 1)",
            "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
            "VALUES ('k', '{}', true, '', '')",
            "INSERT INTO items (item_id, attributes, available, batch_id) VALUES ('i', '{}', true, '')",
            "INSERT INTO ingest_batches (batch_id, dataset, source, location, status, consent) "
            "VALUES ('b', '', '', '', '', '')",
            "INSERT INTO quarantine (batch_id, row_number, chunk, rule_ids, payload) VALUES ('b', 1, 0, '{r}', '{}')",
            "INSERT INTO datasets (version, manifest) VALUES ('v1', '{\"events_version\": 1}')",
            PROMOTION,
        ):
            connection.execute(text(statement))
    published(installation.engine, {"k": [("i", 1.0, "because")]}, batch(k=1))
    create_roles(installation)
    opened = {name: engine(logins.address(installation.settings, name)) for name in (READER, SERVING, OPERATOR)}
    yield lambda name: opened[name]
    for one in opened.values():
        one.dispose()


def test_lists_are_read_by_the_reader_and_what_needs_consent_or_the_champion_by_serving(
    role: Roles, installation: Installation
) -> None:
    assert [row["item_id"] for row in user_list(role(READER), "raw")] == ["i"]
    assert basket_recommendations(role(READER), ["i"]) == []
    with role(SERVING).connect() as connection:
        assert require_user_key(connection, "raw")
        with pytest.raises(UnknownUserError):
            require_user_key(connection, "nobody")
    assert require_champion(role(SERVING), load())["digest"] == "d"
    for query in (
        lambda: basket_recommendations(role(SERVING), ["i"], "raw"),
        lambda: explain(role(SERVING), "raw", "i"),
    ):
        with pytest.raises(BundleRefusedError):  # all that is in the database was read
            query()
    assert step(role(SERVING), installation.settings).command
    assert "Next: `tailorbird score home`" in why_empty(role(SERVING), installation.settings, "raw", "home")


def test_ledgers_and_drift_are_shown_to_serving_and_payloads_to_the_operator(role: Roles) -> None:
    queries: list[Callable[[Engine], Any]] = [status, drift, ledger.ledger, ledger.quarantined]
    assert all(query(role(SERVING)) for query in queries)
    assert ledger.batch(role(SERVING), "b")["batch_id"] == "b"
    assert example_users(role(OPERATOR)) == ["raw"]
    assert ledger.quarantined_rows(role(OPERATOR), "b") == [{"row_number": 2, "rule_ids": ["r"], "payload": {}}]
    assert compaction.dataset_versions(role(OPERATOR)) == [1]


def test_rules_and_reports_of_operators_are_those_of_the_serving_role(role: Roles, installation: Installation) -> None:
    served, everything = role(SERVING), Paging(5, 0)
    assert store_rules(served, HiddenItem(item="i")) == 1
    reader = ReportReader(served, installation.settings, configured(installation.settings))

    async def read() -> list[Any]:
        paged = [report(everything) for report in (reader.ledger, reader.drift, reader.alerts)]
        return await asyncio.gather(reader.placements(), reader.champion(), *paged)

    placements, champion_report, *_ = asyncio.run(read())
    assert placements[0].operator_rules == ["item 'i' is hidden in all placements, by ann on 2026-11-29"]
    assert champion_report.champion.version == 1


@pytest.mark.anyio
async def test_the_api_finds_waiting_items_counts_the_use_of_keys_and_knows_visitors_by_the_serving_role(
    role: Roles, installation: Installation
) -> None:
    put = item_message({"item_id": "waits", "title": "T"}, 1, "m")
    call = replace(click(1), charged=("key", 5))
    settings = installation.settings
    role(SERVING)  # the roles exist
    address = logins.address(settings, SERVING)
    pool = await asyncpg.create_pool(**connection_options(address), min_size=0, max_size=1)
    async with pool.acquire() as connection:
        await store(connection, [put, call])
        assert {row[0] for row in await connection.fetch(UNKNOWN_ITEMS, ["i", "waits", "nothing"])} == {"nothing"}
        assert await connection.fetchval(ANY_IS_NEW, ["k"])
    postgres = Postgres(address, 1, 5.0)
    await RecordedKeys(Keyring(), postgres, settings.var / "keys.json").refresh()
    await postgres.close()
    await pool.close()
    with role(OPERATOR).connect() as connection:
        assert connection.execute(text("SELECT key_id, calls, bytes FROM key_usage")).all() == [("key", 1, 5)]
