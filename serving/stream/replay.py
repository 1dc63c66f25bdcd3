"""Stores messages of dead letters after all: with their own ids, by the code that stores deliveries."""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import asyncpg

from models.primitives.json_types import JsonObject
from serving.collector.bodies import UnusableBodyError
from serving.events.message import Receipt, RefusedMessageError
from serving.events.store import INVALID, store
from serving.stream.delivery import Delivery, MessageReader

Outcome = Literal["stored", "duplicate", "id_conflict", "malformed", "refused", "too_large"]
_REPLAYED: Final = "UPDATE identity.dead_letters SET replayed_at = now() WHERE letter_id = $1"


class _UndoneError(Exception):
    """Ends a transaction without an effect."""


async def replay(
    pool: asyncpg.Pool, letters: Sequence[JsonObject], reader_of: Callable[[str], MessageReader], *, dry_run: bool
) -> list[JsonObject]:
    """Store the messages of letters, each with the mark of its replay; with `dry_run` state what would happen.

    A letter that cannot be stored stays as it is. Raises the error of an outage: earlier letters are stored.
    """
    done: list[JsonObject] = []
    readers = {source: reader_of(source) for source in sorted({one["source"] for one in letters})}
    async with pool.acquire() as connection:
        for letter in letters:
            outcome = await _replay(connection, letter, readers[letter["source"]], dry_run)
            done.append({"letter_id": letter["letter_id"], "source": letter["source"], "outcome": outcome})
    return done


async def _replay(connection: asyncpg.Connection, letter: JsonObject, reader: MessageReader, dry_run: bool) -> Outcome:
    if letter["reason"] == "too_large":  # only its head is there
        return "too_large"
    outcome: Outcome = "refused"
    try:
        messages = reader.read(Delivery(*(letter[name] for name in ("body", "first_at", "message_id", "encoding"))))
        async with connection.transaction():
            outcome = _outcome(await store(connection, messages))
            await connection.execute(_REPLAYED, letter["letter_id"])
            if dry_run or outcome not in ("stored", "duplicate"):
                raise _UndoneError
    except (UnusableBodyError, RefusedMessageError):
        return "malformed"
    except INVALID:
        return "refused"
    except _UndoneError:
        pass
    return outcome


def _outcome(receipts: Sequence[Receipt]) -> Outcome:
    if "conflict" in receipts:
        return "id_conflict"
    return "stored" if "stored" in receipts else "duplicate"
