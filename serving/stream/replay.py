"""Stores messages of dead letters after all: with their own ids, by the code that stores deliveries."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypedDict

import asyncpg

from serving.collector.bodies import UnusableBodyError
from serving.events.message import Receipt, RefusedMessageError
from serving.events.store import INVALID, store
from serving.queries.dead_letters import StoredLetter
from serving.stream.delivery import Delivery
from serving.stream.message_reader import MessageReader
from serving.stream.settlement import mark_replayed

Outcome = Literal["stored", "duplicate", "id_conflict", "malformed", "refused", "too_large"]
_GOOD: Final[tuple[Outcome, ...]] = ("stored", "duplicate")


class Replayed(TypedDict):
    """What became of a letter."""

    letter_id: int
    source: str
    outcome: Outcome


class _UndoneError(Exception):
    """Ends a transaction without an effect."""


async def replay(
    pool: asyncpg.Pool, letters: Sequence[StoredLetter], reader_of: Callable[[str], MessageReader], *, dry_run: bool
) -> list[Replayed]:
    """Store the messages of letters, each with the mark of its replay; with `dry_run` state what would happen.

    A letter that cannot be stored stays as it is. Raises the error of an outage: earlier letters are stored.
    """
    done: list[Replayed] = []
    readers = {source: reader_of(source) for source in sorted({one.source for one in letters})}
    async with pool.acquire() as connection:
        for letter in letters:
            outcome = await _replay(connection, letter, readers[letter.source], dry_run)
            done.append({"letter_id": letter.letter_id, "source": letter.source, "outcome": outcome})
    return done


async def _replay(
    connection: asyncpg.Connection, letter: StoredLetter, reader: MessageReader, dry_run: bool
) -> Outcome:
    if letter.reason == "too_large":  # only its head is there
        return "too_large"
    outcome: Outcome = "refused"
    try:
        messages = reader.read(Delivery(letter.body, letter.first_at, letter.message_id, letter.encoding))
        async with connection.transaction():
            outcome = _outcome(await store(connection, messages))
            await mark_replayed(connection, letter.letter_id)
            if dry_run or outcome not in _GOOD:
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
