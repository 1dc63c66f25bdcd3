"""The blocks of docs/streams.md lead from an empty queue to a changed shelf."""

import ast
import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from benchmarks.stream.rabbit_server import RabbitServer
from infra.installation import Installation
from tests.docs.shown import commands_of
from tests.published import published
from tests.tasks.ingest.inbox.api import Api
from tests.tasks.ingest.inbox.collecting import collecting

PAGE = Path(__file__).parents[3] / "docs" / "streams.md"
PROGRAM, FOLLOWER = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
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


def test_the_page_leads_from_an_empty_queue_to_a_changed_shelf(
    rabbit: RabbitServer, installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SHELF in PAGE.read_text()
    monkeypatch.setenv("BROKER", rabbit.url)
    (tmp_path / "placements.toml").write_text("[home]\nk = 5\nlive = true\n")
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(tmp_path / "placements.toml"))
    shown = list(commands_of(PAGE))
    consume = next(command for command in shown if command.startswith("consume"))
    words = shlex.split(consume.replace("$BROKER", rabbit.url))
    followed, follower = tmp_path / "followed", None
    with collecting(installation, tmp_path, stock=agreed) as shop:

        def shelf() -> dict[str, Any]:
            key = {"Authorization": f"Bearer {shop.read_key}"}
            found: dict[str, Any] = httpx.get(shop.server.address + SHELF, headers=key).raise_for_status().json()
            return found

        clicked = shop.champion_items[0]
        consumer = subprocess.Popen([sys.executable, "-m", "flows", *words], env=dict(os.environ))
        try:
            eventually(lambda: bool(shop.api.rows("SELECT FROM streams")))
            before = shelf()
            asyncio.run(bound(rabbit))
            with followed.open("w") as printed:
                follower = subprocess.Popen([sys.executable, "-uc", FOLLOWER], stdout=printed)
            exec(PROGRAM.replace("995242", clicked), {})  # noqa: S102 -- the block of the page
            eventually(lambda: shelf()["items"] != before["items"])
            assert shelf()["source"] == "live"
            eventually(lambda: followed.read_text().endswith("\n"))
            user, placement, items = followed.read_text().split("\n")[0].split(maxsplit=2)
            assert (user, placement) == ("1", "home")
            stored = shop.api.rows("SELECT item_id, source FROM recommendations_by_user_id ORDER BY rank")
            assert [(item, "live") for item in ast.literal_eval(items)] == stored
        finally:
            if follower is not None:
                follower.kill()
                follower.wait()
            consumer.terminate()
            assert consumer.wait(30) == 0
        shop.api.move()
        (event,) = [row for row in shop.api.lake() if row["source"] == "stream"]  # the others are impressions
        assert (event["event_id"], event["item_id"]) == ("stream:bus-1", clicked)
