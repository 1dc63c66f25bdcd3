"""What people get to see of a champion: the one way from scores to lists, whoever asks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from types import NoneType
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.datasets.cold_start import NewUsers
from models.lists.constrained_selection import select
from models.lists.model_adapters import Filler, RanksPairs, candidate_source_for, reasons_of
from models.lists.model_cascade import ModelCascade, ScoringModel
from models.lists.recommendation_lists import Lists
from models.lists.rules.compiled_rules import CompiledRules
from models.primitives.threads import prefetch_map
from models.primitives.vocabulary import NO_INDEX, index_of
from models.recommenders.baselines.new_user_shrinkage import KINDS, ClickPrior
from models.recommenders.baselines.segment_popular import SegmentPopular
from models.recommenders.explanations.recent_buyers import popular_codes
from models.recommenders.explanations.sentences import DUE as BOUGHT_BEFORE
from models.recommenders.explanations.sentences import NONE
from models.recommenders.protocols import FoldsInUsers, Recommender
from models.retrieval.candidate_sources import Factored
from models.retrieval.source_protocols import CandidateSource

USERS_AT_ONCE: Final = 256
"""So many rows of scores are held in memory at a time."""
_AT_ONCE: Final = (((NoneType, Factored), (8192, 1)), (RanksPairs, (2048, 1)))
"""Users and threads for models of which no rows of scores are held, and which use all processors themselves."""
DUE: Final = "no more of what was bought is due"
RULES: Final = "the rules leave no more items"


class UserList(NamedTuple):
    """One user's list, the best first."""

    key: str
    items: list[str]
    scores: list[float]
    reasons: list[str]


class _Asked(NamedTuple):
    """About whom a speaker is asked: m users, and what is hidden from each or due."""

    rows: NDArray[np.int64]
    """[m] positions among all who are asked about."""
    keys: NDArray[np.str_]
    users: NDArray[np.int32]
    """[m] positions in the speaker."""
    hidden: Any
    """CSR, m x n_items."""
    due: Any

    def at(self, some: NDArray[np.int64]) -> Self:
        """Some of a part."""
        if len(some) == len(self.rows):
            return self
        pairs = (None if matrix is None else matrix[some] for matrix in (self.hidden, self.due))
        return type(self)(self.rows[some], self.keys[some], self.users[some], *pairs)


class _Everybody(NamedTuple):
    """All whom a speaker knows, by their rows among the keys."""

    keys: NDArray[np.str_]
    rows: NDArray[np.int64]
    users: NDArray[np.int32]
    hidden: Any
    """CSR of all keys, as `due`."""
    due: Any

    def chunk(self, some: slice) -> _Asked:
        """A few of them: no more is held of anybody else."""
        rows = self.rows[some]
        pairs = (None if matrix is None else matrix[rows] for matrix in (self.hidden, self.due))
        return _Asked(rows, self.keys[rows], self.users[some], *pairs)


class RankedLists(NamedTuple):
    """Lists of m users, with the reasons as they were said."""

    rows: NDArray[np.int64]
    """[m] positions among the users that were asked about."""
    keys: NDArray[np.str_]
    items: NDArray[np.int32]
    """[m, k] best first, -1 at the end of lists that are shorter."""
    scores: NDArray[np.float32]
    reasons: NDArray[np.int32]
    """[m, k] positions in `texts`; -1 where there is no item."""
    texts: list[str]
    short: NDArray[np.str_]

    def without(self, sentences: frozenset[str]) -> "RankedLists":
        """The same lists, where a reason that must not be shown claims nothing."""
        return self._replace(texts=[NONE if text in sentences else text for text in self.texts]) if sentences else self

    def coded(self, codes: Callable[[list[str]], NDArray[np.int32]]) -> Lists:
        """The lists with the codes that the texts have elsewhere."""
        used, place = np.unique(self.reasons, return_inverse=True)
        said = used >= 0
        code = np.full(len(used), NO_INDEX, dtype=np.int32)
        code[said] = codes([self.texts[position] for position in used[said].tolist()])
        return Lists(self.rows, self.keys, self.items, self.scores, code[place].reshape(self.reasons.shape), self.short)


def build_cascade(
    model: Recommender,
    segments: SegmentPopular | None,
    fallback: NDArray[np.float32],
    new: NewUsers | None = None,
    buyers: NDArray[np.int32] | None = None,
) -> ModelCascade:
    """The champion, of the `new` users too if it can, and then the best sellers of the user's segment."""
    cascade: list[ScoringModel] = [model]
    newcomers = new if new is not None and len(new.keys) else None
    if isinstance(model, FoldsInUsers) and newcomers is not None:
        folded = model.with_users(newcomers)
        cascade.append(ClickPrior(folded, newcomers.events, fallback, buyers=buyers) if model.kind in KINDS else folded)
    if segments is not None:
        cascade.append(segments)
        cascade += [segments.with_users(newcomers)] if newcomers is not None else []
    return ModelCascade(tuple(cascade))


@dataclass(frozen=True)
class ListBuilder:
    """Who speaks, by which rules lists are made, and what fills a list up."""

    cascade: ModelCascade
    fallback: NDArray[np.float32]
    """[n_items]"""
    rules: CompiledRules
    buyers: NDArray[np.int32] | None = None
    """[n_items] users who bought each item lately; without them the reasons of what fills a list up claim nothing."""

    @cached_property
    def _filler(self) -> Filler:
        """How many users bought each item lately."""
        buyers = np.zeros(len(self.fallback), dtype=np.int32) if self.buyers is None else self.buyers
        return Filler(*popular_codes(buyers))

    @cached_property
    def _due_filler(self) -> Filler:
        """What is due and the model says nothing about, such as what was bought since it learned."""
        return Filler(np.zeros(len(self.fallback), dtype=np.int32), [BOUGHT_BEFORE])

    @property
    def items(self) -> NDArray[np.str_]:
        """Item ids, by position."""
        return self.cascade.models[0].items

    def build(self, keys: NDArray[np.str_], hidden: Any = None, due: Any = None) -> Iterator[RankedLists]:
        """The lists of many users (sorted keys), a chunk at a time, in whatever order; the next one is worked out
        meanwhile. Memory is bounded by a chunk.

        `hidden` (boolean CSR, users x items) keeps items from single users; with `due` nothing else is listed.
        """
        rest = np.arange(len(keys))
        for speaker in (*self.cascade.models, None):
            left_over = keys if len(rest) == len(keys) else keys[rest]
            users = np.full(len(rest), NO_INDEX, np.int32) if speaker is None else index_of(speaker.users, left_over)
            knows = np.full(len(rest), speaker is None) | (users >= 0)
            silent = [rest[~knows]]
            for ranked, left in self._by(speaker, _Everybody(keys, rest[knows], users[knows], hidden, due)):
                silent.append(left)
                if len(ranked.keys):
                    yield ranked
            rest = np.sort(np.concatenate(silent))

    def _by(
        self, speaker: ScoringModel | None, everybody: _Everybody
    ) -> Iterator[tuple[RankedLists, NDArray[np.int64]]]:
        """What one speaker has to say of users, and of whom it has nothing to say."""
        size, threads = next((how for kind, how in _AT_ONCE if isinstance(speaker, kind)), (USERS_AT_ONCE, 2))

        def chunk(start: int) -> tuple[RankedLists, NDArray[np.int64]]:
            asked = everybody.chunk(slice(start, start + size))
            spoken, shelf = candidate_source_for(speaker, asked.users, self.rules.allowed, asked.due, self.fallback)
            if speaker is None:  # an empty list is an answer too: nobody else is asked
                spoken[:] = True
            rows = np.flatnonzero(spoken)
            return self._ranked(speaker, shelf(rows), asked.at(rows)), asked.rows[~spoken]

        yield from prefetch_map(chunk, range(0, len(everybody.rows), size), threads)

    def _ranked(self, speaker: ScoringModel | None, shelf: CandidateSource, asked: _Asked) -> RankedLists:
        fallback = self.fallback if asked.due is None else self._rest_of_due(asked)
        chosen = select(shelf, len(asked.rows), self.rules, asked.hidden, fallback)
        reasons, texts = reasons_of(
            speaker, asked.users, chosen, self._filler if asked.due is None else self._due_filler
        )
        why = np.where((chosen.items >= 0).all(axis=1), "", RULES if asked.due is None else DUE)
        return RankedLists(asked.rows, asked.keys, chosen.items, chosen.stated, reasons, texts, why)

    def _rest_of_due(self, asked: _Asked) -> CandidateSource:
        """All that is due, best sellers first: for what the speaker says nothing about."""
        shelf = candidate_source_for(None, asked.users, self.rules.allowed, asked.due, self.fallback)[1]
        return shelf(np.arange(len(asked.rows)))

    def lists(self, keys: NDArray[np.str_], k: int, hide: Any = None) -> list[UserList]:
        """The best `k` of each user; fewer where fewer items are allowed.

        `hide` (CSR, users x items) keeps items from single users; their lists move up.
        """
        plain = replace(self, rules=CompiledRules.plain(k, self.rules.allowed))
        found: dict[int, UserList] = {}
        for ranked in plain.build(keys, hide):
            lengths, texts = (ranked.items >= 0).sum(axis=1).tolist(), np.array([*ranked.texts, ""], dtype=object)
            shown = self.items[ranked.items].tolist(), ranked.scores.tolist(), texts[ranked.reasons].tolist()
            rows = zip(ranked.rows.tolist(), ranked.keys.tolist(), lengths, *shown, strict=True)
            found |= {row: UserList(key, ids[:n], said[:n], why[:n]) for row, key, n, ids, said, why in rows}
        return [found[row] for row in range(len(keys))]
