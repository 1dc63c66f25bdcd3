"""Scores every user with consent by the champion, and publishes the lists."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
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
from models.errors import TailorbirdError
from models.most_popular import REASON
from models.ranking import Ranking, top_k
from models.training_data import index_of
from tasks import publish
from tasks.champion import champion
from tasks.ledger import hold
from tasks.progress import progress

_USERS_AT_ONCE = 512


@dataclass(frozen=True)
class _Scoring:
    """The champion, whom it serves and what it may show."""

    bundle: bundles.Bundle
    eligible: NDArray[np.str_]
    allowed: NDArray[np.bool_]
    shelf: publish.Shelf

    def lists(self) -> Iterator[list[publish.Row]]:
        """The lists of all users, a chunk at a time."""
        known = index_of(self.bundle.model.users, self.eligible)
        for start in range(0, len(self.eligible), _USERS_AT_ONCE):
            part = slice(start, start + _USERS_AT_ONCE)
            yield self._rows(self.eligible[part], known[part])

    def _rows(self, keys: NDArray[np.str_], known: NDArray[np.int32]) -> list[publish.Row]:
        scores = self.bundle.model.scores(known)
        ranking = top_k(scores, self.shelf.k, self.allowed, self.bundle.fallback)
        reasons = self._reasons(known, ranking)
        shown = self.bundle.model.items[ranking.items].tolist()
        values = zip(keys.tolist(), shown, ranking.scores.tolist(), reasons, strict=True)
        return [(key, array(ids), array(numbers), array(said)) for key, ids, numbers, said in values]

    def _reasons(self, known: NDArray[np.int32], ranking: Ranking) -> list[list[str]]:
        """The model's reason for each pick of its own; what filled the list up is popular."""
        said = np.full(ranking.items.shape, REASON, dtype=object)
        row, place = np.nonzero(~ranking.from_fallback & (ranking.items >= 0))
        said[row, place] = self.bundle.model.reasons(known[row], ranking.items[row, place])
        reasons: list[list[str]] = said.tolist()
        return reasons


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
    served = sha256("\n".join([*eligible, *sorted(available)]).encode()).hexdigest()[:8]
    key = f"v{holder['model_version']}-{k}-{served}"
    shelf = publish.Shelf(placement, key, holder["model_version"], holder["dataset_version"], k)
    return _Scoring(bundle, np.array(eligible, dtype=np.str_), allowed, shelf)


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
        counts = {"users": total, "recommendations": recommendations}
        publish.point(connection, work.shelf, batch_id, before, counts)


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    names = ("batch_id", "placement", "model_version", "dataset_version", "status", "users", "recommendations")
    return {name: row[name] for name in names}
