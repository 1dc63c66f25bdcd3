"""What people get to see of a champion: the one way from scores to lists, whoever asks."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.click_prior import KINDS, ClickPrior
from models.cold_start import NewUsers
from models.in_turn import InTurn, Speaker
from models.most_popular import REASON
from models.ranking import NOBODY, top_k
from models.recommender import FoldsInUsers, Recommender
from models.segment_popular import SegmentPopular

USERS_AT_ONCE = 256
"""So many rows of scores are held in memory at a time."""


class Listed(NamedTuple):
    """One user's list, the best first."""

    key: str
    items: list[str]
    scores: list[float]
    reasons: list[str]


def in_turn(
    model: Recommender, segments: SegmentPopular | None, fallback: NDArray[np.float32], new: NewUsers | None = None
) -> InTurn:
    """The champion, of the `new` users too if it can, and then the best sellers of the user's segment."""
    speakers: list[Speaker] = [model]
    newcomers = new if new is not None and len(new.keys) else None
    if isinstance(model, FoldsInUsers) and newcomers is not None:
        folded = model.with_users(newcomers)
        speakers.append(ClickPrior(folded, newcomers.events, fallback) if model.kind in KINDS else folded)
    if segments is not None:
        speakers.append(segments)
        speakers += [segments.with_users(newcomers)] if newcomers is not None else []
    return InTurn(tuple(speakers))


@dataclass(frozen=True)
class Answers:
    """Who speaks, what may be shown, and what fills a list up."""

    speakers: InTurn
    fallback: NDArray[np.float32]
    """[n_items]"""
    allowed: NDArray[np.bool_]
    """[n_items]"""

    @property
    def items(self) -> NDArray[np.str_]:
        """Item ids, by position."""
        return self.speakers.models[0].items

    def lists(self, keys: NDArray[np.str_], k: int, hide: Any = None) -> list[Listed]:
        """The best `k` of each user; fewer where fewer items are allowed. Memory is users x items: call with chunks.

        `hide` (CSR, users x items) keeps items from single users; their lists move up.
        """
        spoken = self.speakers.speak(keys, self.allowed)
        ranking = top_k(spoken.scores, k, self.allowed, self.fallback, hide)
        reasons = self.speakers.reasons(keys, spoken, ranking, REASON)
        shown, scores = self.items[ranking.items].tolist(), ranking.scores.tolist()
        lengths = (ranking.items != NOBODY).sum(axis=1).tolist()
        rows = zip(keys.tolist(), shown, scores, reasons, lengths, strict=True)
        return [Listed(key, ids[:n], numbers[:n], said[:n]) for key, ids, numbers, said, n in rows]
