"""Publishes lists of a test by the steps of scoring."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Engine, text

from infra.database.binary_copy import copy_binary, encoded
from models.lists.ranked_lists import Lists
from tasks.scoring import batch_state, partitions

Entries = Sequence[tuple[str, float, str]]
"""Item, score and reason, best first."""
_COLUMNS = ("batch_id", "subject", "items", "scores", "reasons", "shortfall_reason")


def shelf(
    run: str = "run", placement: str = "home", version: int = 1, k: int = 3, about: str = "user"
) -> batch_state.BatchSpec:
    return batch_state.BatchSpec(placement, run, version, "v1", k, about)


def coded(lists: Mapping[str, Entries], k: int) -> tuple[Lists, list[str], list[str]]:
    """Return the lists as codes, with the items and the reasons behind them."""
    items = sorted({item for entries in lists.values() for item, _, _ in entries})
    reasons = sorted({reason for entries in lists.values() for _, _, reason in entries})
    filled: Any = [[*((items.index(i), s, reasons.index(r)) for i, s, r in entries)] for entries in lists.values()]
    filled = [entries + [(-1, -np.inf, -1)] * (k - len(entries)) for entries in filled]
    columns = np.array(filled, dtype=object).reshape(len(lists), k, 3)
    short = np.array(["" if len(entries) == k else "nothing more" for entries in lists.values()], dtype=np.str_)
    numbers = [columns[:, :, at].astype(kind) for at, kind in ((0, np.int32), (1, np.float32), (2, np.int32))]
    return Lists(np.arange(len(lists)), np.array(list(lists), dtype=np.str_), *numbers, short), items, reasons


def loaded(engine: Engine, lists: Mapping[str, Entries], about: batch_state.BatchSpec) -> batch_state.Claim:
    """Load lists: all steps of publishing before the pointer moves."""
    with engine.begin() as connection:
        batch = batch_state.claim(connection, about)
    batch_state.stage(engine, batch)
    rows, items, reasons = coded(lists, about.k)
    with engine.begin() as connection:
        target = partitions.partition_name("recommendations", batch.batch_id)
        copy_binary(connection, target, _COLUMNS, encoded(batch.batch_id, rows))
        for table, words in (("batch_items", items), ("batch_reasons", reasons)):
            partitions.write_words(connection, batch.batch_id, table, enumerate(words))
        partitions.analyze(connection, batch.batch_id)
        counts = {"users": len(lists), "recommendations": sum(len(entries) for entries in lists.values())}
        batch_state.mark(connection, batch, status=batch_state.CHECKED, **counts)
    batch_state.attach(engine, batch)
    return batch


def published(engine: Engine, lists: Mapping[str, Entries], about: batch_state.BatchSpec | None = None) -> int:
    """Publish lists; return the batch that readers see then."""
    spec = about or shelf(k=max(len(entries) for entries in lists.values()))
    batch = loaded(engine, lists, spec)
    with engine.begin() as connection:
        batch_state.publish(connection, spec.placement, batch, batch_state.live_batch(connection, spec.placement))
    return batch.batch_id


def put_back(engine: Engine, moment: float) -> None:
    """Set the time from which the last lists are shown, in epoch seconds."""
    latest = "period_id = (SELECT max(period_id) FROM publication_periods)"
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE publication_periods SET published_at = to_timestamp(:m) WHERE {latest}"), {"m": moment}
        )


def tables(engine: Engine) -> set[int]:
    """Return the batches that have tables."""
    with engine.connect() as connection:
        return partitions.existing(connection)


def bytes_of_lists(engine: Engine) -> int:
    """Return the bytes on disk of all tables of batches."""
    sizes = text(
        "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' "
        "AND relname ~ '^(recommendations|batch_items|batch_reasons|batch_users)_[0-9]+$'"
    )
    with engine.connect() as connection:
        return int(connection.execute(sizes).scalar_one())
