"""Builds lists from scores under rules: offline evaluation, benchmarks, batch scoring, `explain` and MLflow use it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from types import NoneType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.lists.constrained_selection import Selection, select
from models.lists.model_cascade import Filler, ModelCascade, RanksPairs, ScoringModel, candidate_source_for, reasons_of
from models.lists.ranked_lists import RankedLists, UserList
from models.lists.rules.compiled_rules import CompiledRules
from models.primitives.threads import prefetch_map
from models.primitives.vocabulary import NO_INDEX, index_of, position_of
from models.recommenders.explanations.sentences import DUE as BOUGHT_BEFORE
from models.recommenders.explanations.sentences import NONE, ReasonsFromCodes, popular_codes
from models.retrieval.candidate_sources import CandidateSource, Factored

USERS_AT_ONCE: Final = 256
"""Rows of scores that are held in memory at a time."""
_AT_ONCE: Final = (((NoneType, Factored), (8192, 1)), (RanksPairs, (2048, 1)))
"""Users and threads for models that hold no rows of scores and use all processors themselves."""
DUE: Final = "no more of what was bought is due"
RULES: Final = "the rules leave no more items"


@dataclass(frozen=True)
class ModelUsers:
    """Some users whom a model knows, by their rows among the keys of the build."""

    keys: NDArray[np.str_]
    """All keys of the build."""
    rows: NDArray[np.int64]
    """[m]"""
    users: NDArray[np.int32]
    """[m] positions in the model."""
    all_hidden: Any
    """CSR, all keys x n_items, or None."""
    all_due: Any
    """CSR, all keys x n_items, or None."""

    def at(self, some: NDArray[np.int64] | slice) -> "ModelUsers":
        """Return some of the users."""
        rows = self.rows[some]
        return self if len(rows) == len(self.rows) else replace(self, rows=rows, users=self.users[some])

    @cached_property
    def hidden(self) -> Any:
        """CSR, m x n_items, or None; only the rows of these users are copied."""
        return None if self.all_hidden is None else self.all_hidden[self.rows]

    @cached_property
    def due(self) -> Any:
        """CSR, m x n_items, or None."""
        return None if self.all_due is None else self.all_due[self.rows]


@dataclass(frozen=True)
class ListBuilder:
    """The models, the rules and the fallback that lists are built from."""

    cascade: ModelCascade
    fallback: NDArray[np.float32] | None
    """[n_items] scores of what fills a list up; None leaves the places empty."""
    rules: CompiledRules
    buyers: NDArray[np.int32] | None = None
    """[n_items] users who bought each item in recent days; without them the reasons of fallback items claim nothing."""
    shortfall: str = RULES
    """Why a list is short if its items do not have to be due."""

    @property
    def items(self) -> NDArray[np.str_]:
        """Item ids, by position."""
        return self.cascade.models[0].items

    def build(self, keys: NDArray[np.str_], hidden: Any = None, due: Any = None) -> Iterator[RankedLists]:
        """Yield the lists of many users in chunks, in any order; the next chunk is computed meanwhile.

        `hidden` (boolean CSR, users x items) keeps items from single users. With `due` nothing else is listed. Memory
        is bounded by a chunk.
        """
        remaining = np.arange(len(keys))
        for model in (*self.cascade.models, None):
            if not len(remaining):
                return
            others = keys if len(remaining) == len(keys) else keys[remaining]
            users = np.full(len(remaining), NO_INDEX, np.int32) if model is None else _positions(model, others)
            known = np.full(len(remaining), model is None) | (users >= 0)
            unscored = [remaining[~known]]
            model_users = ModelUsers(keys, remaining[known], users[known], hidden, due)
            for lists, without_score in self._build_for_model(model, model_users):
                unscored.append(without_score)
                if len(lists.keys):
                    yield lists
            remaining = np.sort(np.concatenate(unscored))

    def changed(self, **parts: Any) -> "ListBuilder":
        """Return the builder with other models or rules; what is prepared for the items is used again."""
        made = replace(self, **parts)
        made.__dict__["_filler"] = self._filler
        return made

    def top_lists(self, keys: NDArray[np.str_], k: int, hidden: Any = None) -> list[UserList]:
        """Return the best `k` items of each user; fewer if fewer are allowed.

        No rule applies but which items may be shown. `hidden` (CSR, users x items) keeps items from single users;
        their lists move up.
        """
        plain = replace(self, rules=CompiledRules.plain(k, self.rules.allowed))
        by_row: dict[int, UserList] = {}
        for lists in plain.build(keys, hidden):
            by_row |= lists.user_lists(self.items)
        return [by_row[row] for row in range(len(keys))]

    def _build_for_model(
        self, model: ScoringModel | None, users: ModelUsers
    ) -> Iterator[tuple[RankedLists, NDArray[np.int64]]]:
        """Yield the lists that one model makes, and the rows of users for whom it has no score."""
        size, threads = next((how for kind, how in _AT_ONCE if isinstance(model, kind)), (USERS_AT_ONCE, 2))

        def build_chunk(start: int) -> tuple[RankedLists, NDArray[np.int64]]:
            chunk = users.at(slice(start, start + size))
            scored, source = candidate_source_for(model, chunk.users, self.rules.allowed, chunk.due, self.fallback)
            if model is None:  # the last of the cascade: an empty list is a result too
                scored[:] = True
            rows = np.flatnonzero(scored)
            return self._select(model, source(rows), chunk.at(rows)), chunk.rows[~scored]

        yield from prefetch_map(build_chunk, range(0, len(users.rows), size), threads)

    def _select(self, model: ScoringModel | None, source: CandidateSource, chunk: ModelUsers) -> RankedLists:
        fallback = self.fallback if chunk.due is None else self._due_fallback(chunk)
        selection = select(source, len(chunk.rows), self.rules, chunk.hidden, fallback)
        filler = self._filler if chunk.due is None else self._due_filler
        reasons, texts = reasons_of(model, chunk.users, selection, filler)
        shortfall = np.where(selection.short, self.shortfall if chunk.due is None else DUE, "")
        return RankedLists(
            chunk.rows,
            chunk.keys[chunk.rows],
            selection.items,
            selection.stated,
            selection.from_fallback,
            reasons,
            texts,
            shortfall,
        )

    def _due_fallback(self, chunk: ModelUsers) -> CandidateSource:
        """Return all items that are due, best sellers first, for those that the model does not score."""
        source = candidate_source_for(None, chunk.users, self.rules.allowed, chunk.due, self.fallback)[1]
        return source(np.arange(len(chunk.rows)))

    @cached_property
    def _filler(self) -> Filler:
        """The reasons of fallback items: how many users bought each in recent days."""
        buyers = np.zeros(len(self.rules.allowed), dtype=np.int32) if self.buyers is None else self.buyers
        return Filler(*popular_codes(buyers))

    @cached_property
    def _due_filler(self) -> Filler:
        """The reason of due items that the model does not score, such as purchases since it learned."""
        return Filler(np.zeros(len(self.rules.allowed), dtype=np.int32), [BOUGHT_BEFORE])


def _positions(model: ScoringModel, keys: NDArray[np.str_]) -> NDArray[np.int32]:
    """Return the position in the model of each key; of a single one without reading all of the model's users."""
    if len(keys) == 1:
        return np.array([position_of(model.users, str(keys[0]))], dtype=np.int32)
    return index_of(model.users, keys)


def lists_of_scores(
    scores: NDArray[np.float32],
    rules: CompiledRules,
    fallback: NDArray[np.float32] | None = None,
    hidden: Any = None,
    due: Any = None,
) -> Selection:
    """Return the lists that batch scoring would build from `scores` [m, n_items]; -inf and NaN are never ranked.

    `fallback` [n_items] fills the places that are left, its own -inf and NaN last; without it they stay -1. `hidden`
    (boolean CSR, m x n_items) keeps items from single users, and with `due` (the same) nothing else is listed.
    """
    model = StoredScores(np.arange(len(scores)).astype(np.str_), scores)
    parts = list(ListBuilder(ModelCascade((model,)), fallback, rules).build(model.users, hidden, due))
    selections = [Selection.of(part.items, part.scores, part.from_fallback) for part in parts]
    order = np.argsort(np.concatenate([np.empty(0, dtype=np.int64), *(part.rows for part in parts)]))
    joined = Selection.joined(selections, rules.k)
    return Selection.of(joined.items[order], joined.scores[order], joined.from_fallback[order])


@dataclass(frozen=True)
class StoredScores(ReasonsFromCodes):
    """Scores in memory as a model that gives no reasons."""

    users: NDArray[np.str_]
    table: NDArray[np.float32]
    """[n_users, n_items]"""

    @property
    def items(self) -> NDArray[np.str_]:
        """Return positions in place of ids."""
        return np.arange(self.table.shape[1]).astype(np.str_)

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the rows of these users."""
        return self.table if len(users) == len(self.table) else self.table[users]

    def reason_codes(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[str]]:  # noqa: ARG002
        """Return a reason that claims nothing for each pair."""
        return np.zeros(len(users), dtype=np.int32), [NONE]
