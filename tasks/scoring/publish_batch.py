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

from infra.database.binary_copy import copy_binary, encoded
from infra.installation import Installation
from infra.locks.advisory_locks import LockHeldError, locked
from models.evaluation.metrics.beyond_accuracy import concentration
from models.lists.recommendation_lists import Lists
from models.lists.rules.placement_config import Placement
from models.recommenders.explanations.sentences import shares
from tasks.lake.shared_reads import release_shared_reads
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import log_info
from tasks.scoring import batch_state, partitions
from tasks.scoring.batch_checks import (
    BatchUnsoundError,
    ListStatistics,
    Segments,
    by_segment,
    check_lists,
    overlap_with_previous,
)

_COLUMNS = ("batch_id", "subject", "items", "scores", "reasons", "shortfall_reason")


@dataclass(frozen=True)
class TextCodes:
    """The different texts of a batch, by the codes they get in order of appearance."""

    code: dict[str, int] = field(default_factory=dict)

    def codes(self, texts: list[str]) -> NDArray[np.int32]:
        """[n] the code of each text; new ones get the next."""
        return np.array([self.code.setdefault(text, len(self.code)) for text in texts], dtype=np.int32)


@dataclass(frozen=True)
class Work:
    """What a batch is made from: everything is known and nothing is scored yet."""

    placement: Placement
    shelf: batch_state.BatchSpec
    subjects: NDArray[np.str_]
    """Whoever is to have a list."""
    items: NDArray[np.str_]
    """[n] what the codes of items stand for."""
    allowed: NDArray[np.bool_]
    """[n]"""
    lists: Callable[[TextCodes], Iterator[Lists]]
    """Makes them, a chunk at a time, with the codes of their reasons from the words."""
    segments: Segments
    notes: list[str] = field(default_factory=list)
    """Rules that match nothing, in words."""


def publish_lists(installation: Installation, prepare: Callable[[], Work], placement: str) -> dict[str, Any]:
    """Publish what `prepare` gives; returns the batch's row. What is live already is not made again.

    Raises BatchUnsoundError when the lists are not as promised, OvertakenError when another run was faster, and
    LockHeldError when one is at it.
    """
    with _alone(installation, placement) as still_mine:
        work = prepare()
        with installation.engine.begin() as connection:
            found = _live(connection, work.shelf)
            if found is None:
                mine = batch_state.claim(connection, work.shelf)
                # Once more: whoever was about to publish this batch has done it by now, or never will.
                found = _live(connection, work.shelf)
            if found is not None:
                batch_state.confirm(connection, placement)
                return found
            before = batch_state.live_batch(connection, placement)
        with _stop_recorded(installation, mine):
            _make(installation, work, mine, before)
            batch_state.attach(installation.engine, mine)
            still_mine()
            with installation.engine.begin() as connection:
                batch_state.point(connection, placement, mine, before)
        batch_state.retire(installation.engine, placement)
        with installation.engine.connect() as connection:
            return batch_state.batch_row(connection, mine.batch_id)


def _live(connection: Connection, shelf: batch_state.BatchSpec) -> dict[str, Any] | None:
    """The batch of that key, if readers see it now."""
    found = batch_state.batch_of(connection, shelf.placement, shelf.run_key)
    return found if found and found["batch_id"] == batch_state.live_batch(connection, shelf.placement) else None


@contextmanager
def _alone(installation: Installation, placement: str) -> Iterator[Callable[[], None]]:
    """Nobody else works on the placement; whoever does is waited for: there may be nothing left to do then."""
    with ExitStack() as stack:
        try:
            check = stack.enter_context(locked(installation.engine, batch_state.lock(placement)))
        except LockHeldError:
            log_info(f"Another run makes lists for {placement}; this one waits for it.")
            check = stack.enter_context(locked(installation.engine, batch_state.lock(placement), wait=True))
        yield check


@contextmanager
def _stop_recorded(installation: Installation, mine: batch_state.Claim) -> Iterator[None]:
    """Record that a person stopped the run: the reconciler finishes what a kill interrupts, but not this."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(Exception), installation.engine.begin() as connection:
            batch_state.mark(connection, mine, detail="stopped by a person")
        raise


def _make(installation: Installation, work: Work, mine: batch_state.Claim, before: int | None) -> None:
    """From the empty tables to a batch that may be shown."""
    release_shared_reads()
    batch_state.stage(installation.engine, mine)
    looks, words = ListStatistics(work.allowed), TextCodes()
    try:
        with installation.engine.begin() as connection:
            _load(connection, work, mine.batch_id, looks, words)
            _write_words(connection, work, mine.batch_id, looks, words)
            partitions.analyze(connection, mine.batch_id)
            summary = _checked(connection, work, mine.batch_id, before, looks) | {"reasons": _reasons(looks, words)}
            counts = {"users": looks.rows.num_rows, "recommendations": int(looks.shown.sum())}
            batch_state.mark(connection, mine, status=batch_state.CHECKED, summary=summary, **counts)
    except BatchUnsoundError as error:
        with installation.engine.begin() as connection:
            batch_state.mark(connection, mine, status=batch_state.REFUSED, detail=str(error))
        partitions.drop(installation.engine, mine.batch_id)
        raise


def _load(connection: Connection, work: Work, batch_id: int, looks: ListStatistics, words: TextCodes) -> None:
    """COPY what is made, while the next is being made."""
    started, done, total = time.monotonic(), 0, len(work.subjects)
    with progress(f"score {work.shelf.placement}", total) as advance:

        def pieces() -> Iterator[bytes]:
            nonlocal done
            for lists in work.lists(words):
                done += len(lists.subjects)
                rate = done / max(time.monotonic() - started, 1e-3)
                advance(len(lists.subjects), note=f"{rate:,.0f}/s, {(total - done) / rate:,.0f} s left")
                yield from encoded(batch_id, looks.observe(lists))

        try:
            copy_binary(connection, partitions.part("recommendations", batch_id), _COLUMNS, pieces())
        except UniqueViolation:
            told = f"Batch {batch_id} of {work.shelf.placement} was not published: somebody has two lists."
            raise BatchUnsoundError(f"{told} Readers keep the batch before.") from None


def _write_words(connection: Connection, work: Work, batch_id: int, looks: ListStatistics, words: TextCodes) -> None:
    used = np.flatnonzero(looks.shown)
    named = zip(used.tolist(), work.items[used].tolist(), strict=True)
    partitions.write_words(connection, batch_id, "batch_items", named)
    said = ((code, word) for word, code in words.code.items())
    partitions.write_words(connection, batch_id, "batch_reasons", said)


def _reasons(looks: ListStatistics, words: TextCodes) -> dict[str, float]:
    """The share of each kind of reason; codes were given in the order of the words."""
    places = np.zeros(len(words.code), dtype=np.int64)
    places[: len(looks.reasons)] = looks.reasons
    return shares(words.code, places.tolist())


def _checked(
    connection: Connection, work: Work, batch_id: int, before: int | None, looks: ListStatistics
) -> dict[str, Any]:
    """The batch's summary, once its suite has passed."""
    kept = overlap_with_previous(connection, batch_id, before, work.subjects)
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
