"""After an event the live lists of its user are scored again: stored, shown, and published."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from infra.configuration.settings import Settings
from infra.installation import Installation
from infra.keys.identity import pseudonym
from serving.stores.stores import Stores
from serving.stream.consumer import opened_rescoring, settling
from serving.stream.delivery import Update
from serving.stream.rescoring import Rescoring, take
from serving.stream.settlement import Settlement
from tests.published import published, shelf
from tests.serving.bundle_folders import offer, promote, write_bundle
from tests.serving.made_up_shop import until
from tests.serving.operator_rules import pin, store
from tests.serving.stream.clicks import click, delivery

pytestmark = pytest.mark.anyio


@dataclass
class Broker:
    """Takes updates, or is down."""

    down: bool = False
    taken: list[dict[str, Any]] = field(default_factory=list)

    async def publish(self, updates: Sequence[Update]) -> None:
        if self.down:
            raise ConnectionError
        self.taken += [json.loads(one.body) for one in updates]


@dataclass
class LiveShop:
    """The installation, and the items of its champion."""

    here: Installation
    settings: Settings
    items: list[str]
    broker: Broker = field(default_factory=Broker)

    def key(self, user: str) -> str:
        return pseudonym(user, self.here.key)

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.here.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    def shelf(self, user: str = "ann") -> list[tuple[str, str]]:
        """The items that readers see for a user, and where they come from."""
        return self.listed("home", user)

    def listed(self, placement: str, user: str = "ann") -> list[tuple[str, str]]:
        """The same of any placement."""
        asked = (
            "SELECT item_id, source FROM recommendations_by_user_id WHERE user_id = :user AND placement = :placement"
        )
        return [
            (row.item_id, row.source) for row in self.rows(f"{asked} ORDER BY rank", user=user, placement=placement)
        ]

    @asynccontextmanager
    async def consumer(self) -> AsyncIterator[tuple[Settlement, Rescoring]]:
        async with settling(self.settings, "bus") as settlement, opened_rescoring(self.settings) as rescoring:
            assert rescoring is not None
            settlement.rescoring = rescoring
            yield settlement, rescoring

    def due(self) -> None:
        """Let the pause of all requests be over."""
        self.rows("UPDATE rescoring_requests SET due_at = now()")


@pytest.fixture
def shop(tmp_path: Path, installation: Installation) -> Iterator[LiveShop]:
    file = tmp_path / "placements.toml"
    file.write_text("[home]\nk = 5\nlive = true\n[again]\nk = 5\npolicy = 'repurchase'\nlive = true\n[email]\nk = 5\n")
    settings = installation.settings.model_copy(update={"placements": str(file)})
    champion = tmp_path / "bundle", write_bundle(tmp_path / "bundle")
    made = LiveShop(installation, settings, offer(installation.engine, *champion))
    promote(installation.engine, *champion, version=3)
    people = {"ann": True, "bob": True, "eve": False}
    for user, agrees in people.items():
        made.rows(
            "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
            "VALUES (:key, '{}', :agrees, 'form', 'b')",
            key=made.key(user),
            agrees=agrees,
        )
        made.rows("INSERT INTO identity.users VALUES (:key, :user, 1)", key=made.key(user), user=user)
    first = [(item, 1.0 - place / 10, "Picked by the shop") for place, item in enumerate(made.items[-3:])]
    published(installation.engine, {made.key(user): first for user in ("ann", "bob")})
    yield made
    installation.engine.dispose()


PAGE = Path(__file__).parents[3] / "docs" / "streams.md"


async def test_clicks_of_one_user_are_one_list_which_readers_and_the_api_see(shop: LiveShop) -> None:
    before = shop.shelf()
    address = shop.here.engine.url.render_as_string(hide_password=False)

    async def following(stores: Stores) -> bool:
        entries = (await stores.lists.of_user("home", shop.key("ann"))).entries
        return [item for item, _, _ in entries or ()] == [item for item, _ in shop.shelf()]

    stores = Stores(address, request_seconds=5.0)
    async with shop.consumer() as (settlement, rescoring), stores.running():
        assert await following(stores)  # in the cache of this API from now on
        first, second = shop.items[:2]
        for number, item in enumerate((first, second, first)):
            await settlement.settle([delivery(click(number, item, minutes=3 - number))])
        shop.due()
        assert await rescoring.round(shop.broker) == 1
        await until(lambda: following(stores))
    assert [source for _, source in before] == ["batch"] * 3
    assert [source for _, source in shop.shelf()] == ["live"] * 5
    assert not {item for item, _ in shop.shelf()} & {*shop.items[:2]}
    assert [source for _, source in shop.shelf("bob")] == ["batch"] * 3
    assert shop.rows("SELECT FROM rescoring_requests") == []
    (update,) = shop.broker.taken
    named = {name: update[name] for name in ("event", "user_id", "placement", "model_version")}
    assert named == {"event": "recommendation.updated", "user_id": "ann", "placement": "home", "model_version": 3}
    assert [(one["item_id"], "live") for one in update["items"]] == shop.shelf()
    [example] = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert list(json.loads(example)) == list(update)
    assert {*json.loads(example)["items"][0]} < {*update["items"][0]}
    assert [one["rank"] for one in update["items"]] == [1, 2, 3, 4, 5]
    assert all(one["reason"] for one in update["items"])
    assert datetime.fromisoformat(update["occurred_at"]) < datetime.fromisoformat(update["scored_at"])


async def test_a_user_without_consent_gets_no_list_and_a_withdrawal_deletes_it(shop: LiveShop) -> None:
    silent: dict[str, Any] = {"context": {}}
    refusal = {"type": "identify", "messageId": "no", "userId": "ann"}
    refusal |= {"context": {"consent": {"categoryPreferences": {"Personalization": False}}}}
    async with shop.consumer() as (settlement, rescoring):
        clicks = [click(1, shop.items[0], "eve", **silent), click(2, shop.items[0], "nobody", **silent)]
        await settlement.settle([*map(delivery, clicks)])
        assert shop.rows("SELECT FROM rescoring_requests") == []
        await settlement.settle([delivery(click(3, shop.items[0]))])
        shop.due()
        await rescoring.round(shop.broker)
        await settlement.settle([delivery(click(4, shop.items[1]))])
        await settlement.settle([delivery(json.dumps(refusal).encode())])
        shop.due()
        assert await rescoring.round(shop.broker) == 0
    assert shop.rows("SELECT FROM live_recommendations") == []
    assert len(shop.broker.taken) == 1
    assert shop.shelf() == []


async def test_users_of_one_round_each_get_the_list_of_their_own_clicks(shop: LiveShop) -> None:
    clicked = {"ann": shop.items[0], "bob": shop.items[1]}
    async with shop.consumer() as (settlement, rescoring):
        await settlement.settle([delivery(click(at, item, user)) for at, (user, item) in enumerate(clicked.items())])
        shop.due()
        assert await rescoring.round(shop.broker) == 2
    lists = {one["user_id"]: [item["item_id"] for item in one["items"]] for one in shop.broker.taken}
    assert all(item not in lists[user] for user, item in clicked.items())
    assert lists["ann"] != lists["bob"]


async def test_of_a_due_list_only_what_was_bought_is_offered_no_longer(shop: LiveShop) -> None:
    """The batch states nothing of its users, as those of earlier versions, so that the live list is empty."""
    key, (item, other, third) = shop.key("ann"), shop.items[:3]
    due = [(item, 1.0, "You bought this before"), (other, 0.5, "You bought this on 2 days")]
    published(shop.here.engine, {key: due}, shelf("again", "again", k=2))
    address = shop.here.engine.url.render_as_string(hide_password=False)

    def bought(number: int, item: str) -> bytes:
        products = {"order_id": f"o{number}", "products": [{"product_id": item}]}
        return click(number, item, event="Order Completed", properties=products)

    async def of_the_api() -> list[str]:
        stores = Stores(address, request_seconds=5.0)
        async with stores.running():
            return [name for name, _, _ in (await stores.lists.of_user("again", key)).entries or ()]

    async with shop.consumer() as (settlement, rescoring):
        for message, left, source in (
            (click(1, item), [item, other], "batch"),
            (bought(2, third), [item, other], "batch"),
            (bought(3, item), [other], "live"),
            (click(4, third), [other], "live"),
            (bought(5, other), [], ""),
        ):
            await settlement.settle([delivery(message)])
            shop.due()
            assert await rescoring.round(shop.broker) == 1
            assert await of_the_api() == left
            assert shop.listed("again") == [(name, source) for name in left]
    updates = [one["items"] for one in shop.broker.taken if one["placement"] == "again"]
    assert [[(entry["item_id"], entry["reason"]) for entry in items] for items in updates] == [
        [(other, "You bought this on 2 days")],
        [(other, "You bought this on 2 days")],
        [],
    ]


async def test_a_list_is_published_after_an_outage_of_the_broker(shop: LiveShop) -> None:
    async with shop.consumer() as (settlement, rescoring):
        await settlement.settle([delivery(click(1, shop.items[0]))])
        shop.due()
        shop.broker.down = True
        with pytest.raises(ConnectionError):
            await rescoring.round(shop.broker)
        assert shop.rows("SELECT attempts FROM rescoring_requests") == [(0,)]
        shop.broker.down = False
        await rescoring.round(shop.broker)
    assert [one["user_id"] for one in shop.broker.taken] == ["ann"]
    assert shop.rows("SELECT FROM rescoring_requests") == []


async def test_a_user_that_a_killed_consumer_took_is_scored_by_another_one(shop: LiveShop) -> None:
    async with shop.consumer() as (settlement, rescoring):
        clicks = [click(number, shop.items[0], user) for number, user in enumerate(("ann", "bob"))]
        await settlement.settle([*map(delivery, clicks)])
        shop.due()
        killed = await take(settlement.pool, 1)
        assert len(killed) == 1
        assert await rescoring.round(shop.broker) == 1
        assert await rescoring.round(shop.broker) == 0
        shop.due()  # the lease of the killed one is over
        assert await rescoring.round(shop.broker) == 1
    assert sorted(one["user_id"] for one in shop.broker.taken) == ["ann", "bob"]


async def test_an_event_during_the_scoring_leads_to_another_list(shop: LiveShop) -> None:
    async with shop.consumer() as (settlement, rescoring):

        class Clicking(type(shop.broker)):  # type: ignore[misc]
            """A broker during whose work another click arrives."""

            async def publish(self, _: Any) -> None:
                await settlement.settle([delivery(click(2, shop.items[1], minutes=1))])

        await settlement.settle([delivery(click(1, shop.items[0], minutes=2))])
        shop.due()
        await rescoring.round(Clicking())
        shop.due()
        assert await rescoring.round(shop.broker) == 1
    assert shop.items[1] not in [item for item, _ in shop.shelf()]
    assert shop.rows("SELECT FROM rescoring_requests") == []


def test_a_list_of_an_older_event_replaces_none_of_a_newer_one(shop: LiveShop) -> None:
    def keep(item: str, at: str) -> list[Any]:
        batch = shop.rows("SELECT batch_id FROM placements")[0].batch_id
        one = {"placement": "home", "user_key": shop.key("ann"), "batch_id": batch, "model_version": 3}
        one |= {"rules_version": 0, "items": [item], "scores": [1.0], "reasons": ["x"], "occurred_at": at}
        one["expires_at"] = "2999-01-01"
        return shop.rows("SELECT user_id FROM keep_live_lists(CAST(:lists AS jsonb))", lists=json.dumps([one]))

    first, second, third = shop.items[:3]
    assert keep(first, "2026-11-01 10:00Z") == [("ann",)]
    assert keep(second, "2026-11-01 09:00Z") == []
    assert shop.shelf() == [(first, "live")]
    assert keep(third, "2026-11-01 11:00Z") == [("ann",)]
    assert shop.shelf() == [(third, "live")]


_PROMOTED = """
    INSERT INTO promotions (model_version, kind, dataset_version, metrics, actor, reason, previous_promotion_id, bundle,
        digest)
    SELECT 4, kind, dataset_version, metrics, actor, reason, promotion_id, bundle, digest FROM promotions"""
_PRESENT = """
    UPDATE live_recommendations AS list SET expires_at = now() + interval '1 hour', model_version = 3,
        rules_version = (SELECT coalesce(max(version), 0) FROM operator_rules)"""


async def test_a_list_counts_until_what_it_was_made_from_changes(shop: LiveShop) -> None:
    async with shop.consumer() as (settlement, rescoring):
        await settlement.settle([delivery(click(1, shop.items[0]))])
        shop.due()
        await rescoring.round(shop.broker)
    lists = {shop.key("ann"): [(shop.items[4], 1.0, "x")]}
    for change in (
        lambda: shop.rows("UPDATE live_recommendations SET expires_at = now()"),
        lambda: store(shop.here.engine, pin(shop.items[3], 1, "home")),
        lambda: published(shop.here.engine, lists, shelf("later", k=1)),
    ):
        shop.rows(_PRESENT)
        assert {source for _, source in shop.shelf()} == {"live"}
        change()
        assert {source for _, source in shop.shelf()} == {"batch"}
    shop.rows(f"{_PRESENT}, batch_id = (SELECT batch_id FROM placements)")
    assert {source for _, source in shop.shelf()} == {"live"}
    shop.rows(_PROMOTED)
    assert shop.shelf() == [(shop.items[4], "batch")]


async def test_a_failure_of_rescoring_holds_back_no_event(shop: LiveShop) -> None:
    async with shop.consumer() as (settlement, _):
        shop.rows("ALTER TABLE rescoring_requests RENAME TO gone")
        assert await settlement.settle([delivery(click(1, shop.items[0])), delivery(click(2, shop.items[1]))]) == []
        assert settlement.counts == {"stored": 2}
    assert len(shop.rows("SELECT FROM event_inbox")) == 2


async def test_receivers_get_a_notice_of_an_erased_user_once_the_broker_accepts_it(shop: LiveShop) -> None:
    shop.rows("INSERT INTO identity.erasure_notices (user_id) VALUES ('ann')")
    async with shop.consumer() as (_, rescoring):
        shop.broker.down = True
        with pytest.raises(ConnectionError):
            await rescoring.round(shop.broker)
        shop.broker.down = False
        assert await rescoring.round(shop.broker) == 1
        assert await rescoring.round(shop.broker) == 0
    told = [{name: value for name, value in one.items() if name != "scored_at"} for one in shop.broker.taken]
    notice = {"event": "recommendation.updated", "user_id": "ann", "items": [], "erased": True}
    assert told == [notice | {"placement": placement} for placement in ("home", "again")]
    assert shop.rows("SELECT * FROM identity.erasure_notices") == []
