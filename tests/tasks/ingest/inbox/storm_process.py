"""A process of the storm: an API that sends clicks until it is killed, or a mover that moves them."""

import asyncio
import itertools
import sys
import time
from pathlib import Path

import asyncpg

from infra.installation import current
from infra.keys.identity import pseudonym
from serving.events.message import Message, Sender, feedback_message
from serving.events.spool import Spool, SpoolFullError
from serving.events.writer import EventWriter


def click(number: int, key: bytes) -> Message:
    user = f"user {number % 50}"
    sender = Sender(1, pseudonym(user, key), None, user, True)
    return feedback_message({"kind": "click", "item_id": "cup"}, sender, f"m{number}")


async def send(address: str, spool: Path, receipts: Path, key: bytes) -> None:
    """Send every number that has no receipt yet, and note the numbers that were acknowledged."""
    done = {int(word) for word in receipts.read_text().split("\n")[:-1]} if receipts.exists() else set()
    pool = await asyncpg.create_pool(address, min_size=0, max_size=4, timeout=2)
    writer = EventWriter(pool, Spool(spool, 2**24))
    await writer.start()
    with receipts.open("a") as file:
        for number in (one for one in itertools.count() if one not in done):
            try:
                await writer.write(click(number, key))
            except SpoolFullError:
                continue
            file.write(f"{number}\n")
            file.flush()


def main() -> None:
    if sys.argv[1] == "send":
        asyncio.run(send(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5].encode()))
    from tasks.ingest.inbox.move_inbox import NOW, move_inbox

    while True:
        try:
            move_inbox(current(), "events", NOW)
        except Exception as error:
            print(type(error).__name__, error, file=sys.stderr, flush=True)
            current.cache_clear()
        time.sleep(0.1)


if __name__ == "__main__":
    main()
