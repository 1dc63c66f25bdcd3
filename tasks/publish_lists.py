"""Takes lists, as they are made, to readers: one batch of a placement, checked, published whole or not at all."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg2.errors import UniqueViolation
from sqlalchemy import Connection

from infra.advisory_locks import LockHeldError, locked
from infra.binary_copy import copy_binary, encoded
from infra.installation import Installation
from models.evaluation.variety import concentration
from models.lists import Lists
from models.placement import Placement
from models.reasons import shares
from tasks import batch_tables, publish
from tasks.check_lists import BatchUnsoundError, Looks, Segments, by_segment, check_lists, kept_from
from tasks.progress import progress
from tasks.report import tell
from tasks.scoring.shared_reads import let_go

_COLUMNS = ("batch_id", "subject", "items", "scores", "reasons", "short")


@dataclass(frozen=True)
class Words:
    """The different texts of a batch, by the codes they get in order of appearance."""

    code: dict[str, int] = field(default_factory=dict)

    def codes(self, texts: list[str]) -> NDArray[np.int32]:
        """[n] the code of each text; new ones get the next."""
        return np.array([self.code.setdefault(text, len(self.code)) for text in texts], dtype=np.int32)


@dataclass(frozen=True)
class Work:
    """What a batch is made from: everything is known and nothing is scored yet."""

    placement: Placement
    shelf: publish.Shelf
    subjects: NDArray[np.str_]
    """Whoever is to have a list."""
    items: NDArray[np.str_]
    """[n] what the codes of items stand for."""
    allowed: NDArray[np.bool_]
    """[n]"""
    lists: Callable[[Words], Iterator[Lists]]
    """Makes them, a chunk at a time, with the codes of their reasons from the words."""
    segments: Segments
    notes: list[str] = field(default_factory=list)
    """Rules that match nothing, in words."""


def publish_lists(here: Installation, prepare: Callable[[], Work], placement: str) -> dict[str, Any]:
    """Publish what `prepare` gives; returns the batch's row. What is live already is not made again.

    Raises BatchUnsoundError when the lists are not as promised, OvertakenError when another run was faster, and
    LockHeldError when one is at it.
    """
    with _alone(here, placement) as still_mine:
        work = prepare()
        with here.engine.begin() as connection:
            found = _live(connection, work.shelf)
            if found is None:
                mine = publish.claim(connection, work.shelf)
                # Once more: whoever was about to publish this batch has done it by now, or never will.
                found = _live(connection, work.shelf)
            if found is not None:
                publish.confirm(connection, placement)
                return found
            before = publish.live_batch(connection, placement)
        with _stop_recorded(here, mine):
            _make(here, work, mine, before)
            publish.attach(here.engine, mine)
            still_mine()
            with here.engine.begin() as connection:
                publish.point(connection, placement, mine, before)
        publish.retire(here.engine, placement)
        with here.engine.connect() as connection:
            return publish.batch_row(connection, mine.batch_id)


def _live(connection: Connection, shelf: publish.Shelf) -> dict[str, Any] | None:
    """The batch of that key, if readers see it now."""
    found = publish.batch_of(connection, shelf.placement, shelf.run_key)
    return found if found and found["batch_id"] == publish.live_batch(connection, shelf.placement) else None


@contextmanager
def _alone(here: Installation, placement: str) -> Iterator[Callable[[], None]]:
    """Nobody else works on the placement; whoever does is waited for: there may be nothing left to do then."""
    with ExitStack() as stack:
        try:
            check = stack.enter_context(locked(here.engine, publish.lock(placement)))
        except LockHeldError:
            tell(f"Another run makes lists for {placement}; this one waits for it.")
            check = stack.enter_context(locked(here.engine, publish.lock(placement), wait=True))
        yield check


@contextmanager
def _stop_recorded(here: Installation, mine: publish.Claim) -> Iterator[None]:
    """Record that a person stopped the run: the reconciler finishes what a kill interrupts, but not this."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(Exception), here.engine.begin() as connection:
            publish.mark(connection, mine, detail="stopped by a person")
        raise


def _make(here: Installation, work: Work, mine: publish.Claim, before: int | None) -> None:
    """From the empty tables to a batch that may be shown."""
    let_go()
    publish.stage(here.engine, mine)
    looks, words = Looks(work.allowed), Words()
    try:
        with here.engine.begin() as connection:
            _load(connection, work, mine.batch_id, looks, words)
            _write_words(connection, work, mine.batch_id, looks, words)
            batch_tables.analyze(connection, mine.batch_id)
            summary = _checked(connection, work, mine.batch_id, before, looks) | {"reasons": _reasons(looks, words)}
            counts = {"users": looks.rows.num_rows, "recommendations": int(looks.shown.sum())}
            publish.mark(connection, mine, status=publish.CHECKED, summary=summary, **counts)
    except BatchUnsoundError as error:
        with here.engine.begin() as connection:
            publish.mark(connection, mine, status=publish.REFUSED, detail=str(error))
        batch_tables.drop(here.engine, mine.batch_id)
        raise


def _load(connection: Connection, work: Work, batch_id: int, looks: Looks, words: Words) -> None:
    """COPY what is made, while the next is being made."""
    started, done, total = time.monotonic(), 0, len(work.subjects)
    with progress(f"score {work.shelf.placement}", total) as advance:

        def pieces() -> Iterator[bytes]:
            nonlocal done
            for lists in work.lists(words):
                done += len(lists.subjects)
                rate = done / max(time.monotonic() - started, 1e-3)
                advance(len(lists.subjects), note=f"{rate:,.0f}/s, {(total - done) / rate:,.0f} s left")
                yield from encoded(batch_id, looks.see(lists))

        try:
            copy_binary(connection, batch_tables.part("recommendations", batch_id), _COLUMNS, pieces())
        except UniqueViolation:
            told = f"Batch {batch_id} of {work.shelf.placement} was not published: somebody has two lists."
            raise BatchUnsoundError(f"{told} Readers keep the batch before.") from None


def _write_words(connection: Connection, work: Work, batch_id: int, looks: Looks, words: Words) -> None:
    used = np.flatnonzero(looks.shown)
    named = zip(used.tolist(), work.items[used].tolist(), strict=True)
    batch_tables.write_words(connection, batch_id, "batch_items", named)
    said = ((code, word) for word, code in words.code.items())
    batch_tables.write_words(connection, batch_id, "batch_reasons", said)


def _reasons(looks: Looks, words: Words) -> dict[str, float]:
    """The share of each kind of reason; codes were given in the order of the words."""
    places = np.zeros(len(words.code), dtype=np.int64)
    places[: len(looks.reasons)] = looks.reasons
    return shares(words.code, places.tolist())


def _checked(connection: Connection, work: Work, batch_id: int, before: int | None, looks: Looks) -> dict[str, Any]:
    """The batch's summary, once its suite has passed."""
    kept = kept_from(connection, batch_id, before, work.subjects)
    check_lists(
        connection, batch_id, work.shelf.placement, looks, len(work.subjects), (kept.share, work.placement.overlap)
    )
    shown = looks.shown[work.allowed].astype(np.float64)
    return {
        "coverage": round(float((looks.shown > 0).sum() / max(1, work.allowed.sum())), 4),
        "gini": round(float(concentration(shown[None], len(shown))[0]), 4),
        "scores": looks.scores,
        "kept_from_before": round(float(kept.share.mean()), 4) if len(kept.share) else None,
        "short": looks.short,
        "notes": work.notes,
        "segments": by_segment(looks, work.segments, kept, work.shelf.k),
    }
