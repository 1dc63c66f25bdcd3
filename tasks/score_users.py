"""Scores every user with consent, by the champion as far as it can speak of him, and publishes the lists."""

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task
from sqlalchemy import select

from infra import bundles
from infra.bulk import array
from infra.installation import Installation, current
from infra.schema import items, suppressions, users
from models.answers import USERS_AT_ONCE, Answers, in_turn
from models.errors import TailorbirdError
from models.training_data import index_of
from tasks import publish
from tasks.champion import champion
from tasks.ledger import hold
from tasks.newcomers import newcomers
from tasks.progress import progress

_CHUNKS_AT_ONCE = 2


@dataclass(frozen=True)
class _Scoring:
    """Whom it is about, and what they get."""

    answers: Answers
    eligible: NDArray[np.str_]
    shelf: publish.Shelf

    def lists(self) -> Iterator[list[publish.Row]]:
        """The lists of all users, a chunk at a time; the next one is worked out meanwhile."""
        chunks = (self.eligible[at : at + USERS_AT_ONCE] for at in range(0, len(self.eligible), USERS_AT_ONCE))
        with ThreadPoolExecutor(_CHUNKS_AT_ONCE) as pool:
            waiting = deque(pool.submit(self._rows, keys) for keys in islice(chunks, _CHUNKS_AT_ONCE))
            while waiting:
                rows = waiting.popleft().result()
                waiting.extend(pool.submit(self._rows, keys) for keys in islice(chunks, 1))
                yield rows

    def _rows(self, keys: NDArray[np.str_]) -> list[publish.Row]:
        found = self.answers.lists(keys, self.shelf.k)
        return [(one.key, array(one.items), array(one.scores), array(one.reasons)) for one in found]


def _prepare(here: Installation, placement: str, k: int) -> _Scoring:
    with here.engine.connect() as connection:
        holder = champion(connection)
        if holder is None:
            raise TailorbirdError("No model was promoted yet: run `tailorbird review`, then `tailorbird decide`.")
        gone = select(suppressions.c.user_key)
        agreed = select(users.c.user_key).where(users.c.consent, users.c.user_key.not_in(gone))
        eligible = connection.execute(agreed.order_by(users.c.user_key)).scalars().all()
        available = connection.execute(select(items.c.item_id).where(items.c.available)).scalars().all()
    bundle = bundles.load(Path(holder["bundle"]), holder["digest"])
    allowed = index_of(np.array(sorted(available), dtype=np.str_), bundle.model.items) >= 0
    if k > allowed.sum():
        raise TailorbirdError(f"Only {allowed.sum()} items can be recommended: ask for lists of at most that length.")
    people = np.array(eligible, dtype=np.str_)
    new = newcomers(here, people, bundle.model.users, bundle.model.items)
    clicks = [part.tolist() for part in (new.events.indptr, new.events.indices, new.events.data)]
    served = json.dumps([*eligible, *sorted(available), new.traits.to_pydict(), clicks], sort_keys=True)
    key = f"v{holder['model_version']}-{k}-{sha256(served.encode()).hexdigest()[:8]}"
    shelf = publish.Shelf(placement, key, holder["model_version"], holder["dataset_version"], k)
    speakers = in_turn(bundle.model, bundle.segments, bundle.fallback, new)
    return _Scoring(Answers(speakers, bundle.fallback, allowed), people, shelf)


@task(description="The champion's lists for every user with consent, published as one batch.")
def score_users(placement: str = "home", k: int = 20) -> dict[str, Any]:
    """Score and publish; returns the batch. The same champion, users and catalogue again publish nothing new."""
    here = current()
    with hold(here.engine, f"score {placement}"):
        work = _prepare(here, placement, k)
        with here.engine.begin() as connection:
            batch = publish.batch_of(connection, work.shelf)
            before = publish.live_batch(connection, placement)
        if batch["batch_id"] != before:
            _publish(here, work, batch["batch_id"], before)
        publish.retire(here.engine, placement)
        with here.engine.connect() as connection:
            return _summary(publish.batch_row(connection, batch["batch_id"]))


def _publish(here: Installation, work: _Scoring, batch_id: int, before: int | None) -> None:
    publish.stage(here.engine, batch_id)
    total = len(work.eligible)
    with progress("score users", total) as advance, here.engine.begin() as connection:
        for rows in work.lists():
            advance(publish.load(connection, batch_id, rows))
        recommendations = publish.check(connection, batch_id, total, work.shelf.k)
    publish.attach(here.engine, batch_id)
    with here.engine.begin() as connection:
        shelf = work.shelf.placement
        publish.point(connection, shelf, batch_id, before, users=total, recommendations=recommendations)


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    names = ("batch_id", "placement", "model_version", "dataset_version", "status", "users", "recommendations")
    return {name: row[name] for name in names}
