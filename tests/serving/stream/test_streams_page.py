"""The blocks of docs/streams.md lead from an empty queue or topic to a changed shelf."""

import ast
import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from benchmarks.stream.rabbit_server import RabbitServer
from infra.installation import Installation
from tests.docs.shown import commands_of
from tests.published import published
from tests.tasks.ingest.inbox.api import Api
from tests.tasks.ingest.inbox.collecting import Collecting, collecting

if TYPE_CHECKING:
    from tests.serving.stream.kafka_broker import KafkaBroker

PAGE = Path(__file__).parents[3] / "docs" / "streams.md"
PROGRAM, KAFKA_PROGRAM, FOLLOWER = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
SHELF = "/v1/users/1/recommendations?k=3"


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        with suppress(httpx.TransportError):
            if holds():
                return
        sleep(0.1)
    raise AssertionError("it took too long")


def agreed(api: Api) -> None:
    """Let user 1 have agreed, as users of a shop have before, and have a published list."""
    api.rows(
        "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
        "VALUES (:key, '{}', true, 'form', 'b')",
        key=api.key("1"),
    )
    published(api.here.engine, {api.key("1"): [("cup", 0.9, "x"), ("pan", 0.8, "x")]})


async def bound(server: RabbitServer) -> None:
    """Make the queue of the page, so that no update is lost before its program has made it."""
    aio_pika = pytest.importorskip("aio_pika")
    async with await aio_pika.connect(server.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("cms", durable=True)
        await queue.bind(await channel.get_exchange("tailorbird.recommendations"), "recommendation.updated.#")


@contextmanager
def consumed(
    place: tuple[str, str], installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Collecting, Callable[[], Any]]]:
    """A shop with a live placement whose events the command of the page consumes meanwhile, and its shelf."""
    variable, address = place
    assert SHELF in PAGE.read_text()
    monkeypatch.setenv(variable, address)
    (folder / "placements.toml").write_text("[home]\nk = 5\nlive = true\n")
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(folder / "placements.toml"))
    [command] = [one for one in commands_of(PAGE) if one.startswith("consume") and f"${variable}" in one]
    words = shlex.split(command.replace(f"${variable}", address))
    with collecting(installation, folder, stock=agreed) as shop:

        def shelf() -> Any:
            key = {"Authorization": f"Bearer {shop.read_key}"}
            return httpx.get(shop.server.address + SHELF, headers=key).raise_for_status().json()

        consumer = subprocess.Popen([sys.executable, "-m", "flows", *words], env=dict(os.environ))
        try:
            eventually(lambda: bool(shop.api.rows("SELECT FROM streams")))
            yield shop, shelf
        finally:
            consumer.terminate()
            assert consumer.wait(30) == 0
        shop.api.move()
        (event,) = [row for row in shop.api.lake() if row["source"] == "stream"]  # the others are impressions
        assert (event["event_id"].split("-")[0], event["item_id"]) == ("stream:bus", shop.champion_items[0])


def is_stored(shop: Collecting, items: list[str]) -> bool:
    stored = shop.api.rows("SELECT item_id, source FROM recommendations_by_user_id ORDER BY rank")
    return [(item, "live") for item in items] == stored


def run_block(program: str, shop: Collecting, shelf: Callable[[], Any]) -> None:
    """Run a program of the page; the shelf changes."""
    before = shelf()
    exec(program.replace("995242", shop.champion_items[0]), {})  # noqa: S102 -- the block of the page
    eventually(lambda: shelf()["items"] != before["items"])
    assert shelf()["source"] == "live"


def test_the_page_leads_from_an_empty_queue_to_a_changed_shelf(
    rabbit: RabbitServer, installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = tmp_path / "followed"
    with consumed(("BROKER", rabbit.url), installation, tmp_path, monkeypatch) as (shop, shelf):
        asyncio.run(bound(rabbit))
        with followed.open("w") as printed:
            follower = subprocess.Popen([sys.executable, "-uc", FOLLOWER], stdout=printed)
        try:
            run_block(PROGRAM, shop, shelf)
            eventually(lambda: followed.read_text().endswith("\n"))
        finally:
            follower.kill()
            follower.wait()
        user, placement, items = followed.read_text().split("\n")[0].split(maxsplit=2)
        assert (user, placement) == ("1", "home")
        assert is_stored(shop, ast.literal_eval(items))


def test_the_page_leads_from_an_empty_topic_to_a_changed_shelf(
    kafka: "KafkaBroker", installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with consumed(("KAFKA", kafka.servers), installation, tmp_path, monkeypatch) as (shop, shelf):
        run_block(KAFKA_PROGRAM, shop, shelf)
        update = json.loads(asyncio.run(kafka.first_of("tailorbird.recommendations", b"1")))
        assert (update["event"], update["user_id"], update["placement"]) == ("recommendation.updated", "1", "home")
        assert is_stored(shop, [item["item_id"] for item in update["items"]])
