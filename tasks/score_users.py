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
from models import click_prior
from models.cold_start import NewUsers
from models.errors import TailorbirdError
from models.in_turn import InTurn, Speaker
from models.most_popular import REASON
from models.ranking import top_k
from models.recommender import FoldsInUsers
from models.training_data import index_of
from tasks import publish
from tasks.champion import champion
from tasks.ledger import hold
from tasks.newcomers import newcomers
from tasks.progress import progress

_USERS_AT_ONCE = 256
_CHUNKS_AT_ONCE = 2


@dataclass(frozen=True)
class _Scoring:
    """Who speaks, whom it is about and what may be shown."""

    speakers: InTurn
    fallback: NDArray[np.float32]
    eligible: NDArray[np.str_]
    allowed: NDArray[np.bool_]
    shelf: publish.Shelf

    def lists(self) -> Iterator[list[publish.Row]]:
        """The lists of all users, a chunk at a time; the next one is worked out meanwhile."""
        chunks = (self.eligible[at : at + _USERS_AT_ONCE] for at in range(0, len(self.eligible), _USERS_AT_ONCE))
        with ThreadPoolExecutor(_CHUNKS_AT_ONCE) as pool:
            waiting = deque(pool.submit(self._rows, keys) for keys in islice(chunks, _CHUNKS_AT_ONCE))
            while waiting:
                rows = waiting.popleft().result()
                waiting.extend(pool.submit(self._rows, keys) for keys in islice(chunks, 1))
                yield rows

    def _rows(self, keys: NDArray[np.str_]) -> list[publish.Row]:
        spoken = self.speakers.speak(keys, self.allowed)
        ranking = top_k(spoken.scores, self.shelf.k, self.allowed, self.fallback)
        reasons = self.speakers.reasons(keys, spoken, ranking, REASON)
        shown = self.speakers.models[0].items[ranking.items].tolist()
        values = zip(keys.tolist(), shown, ranking.scores.tolist(), reasons, strict=True)
        return [(key, array(ids), array(numbers), array(said)) for key, ids, numbers, said in values]


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
    return _Scoring(_speakers(bundle, new), bundle.fallback, people, allowed, shelf)


def _speakers(bundle: bundles.Bundle, new: NewUsers) -> InTurn:
    """The champion, of newcomers too if it can, and then the best sellers of the user's segment."""
    speakers: list[Speaker] = [bundle.model]
    if isinstance(bundle.model, FoldsInUsers) and len(new.keys):
        folded = bundle.model.with_users(new)
        by_clicks = bundle.model.kind in click_prior.KINDS
        speakers.append(click_prior.ClickPrior(folded, new.events, bundle.fallback) if by_clicks else folded)
    if bundle.segments is not None:
        speakers.append(bundle.segments)
        speakers += [bundle.segments.with_users(new)] if len(new.keys) else []
    return InTurn(tuple(speakers))


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
