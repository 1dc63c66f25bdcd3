"""Checks a champion before it answers: a signed bundle can hold a model that learned nothing, or NaN."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from infra.bundles.bundle import Bundle
from models.errors import TailorbirdError
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.ranked_lists import RankedLists
from models.lists.rules.compiled_rules import CompiledRules
from models.primitives.vocabulary import NO_INDEX

USERS: Final = 24
"""Golden users: evenly spaced among the model's."""
PLACES: Final = 10
_SAME_FOR_ALL: Final = ("most_popular", "segment_popular")
"""Kinds that may give one list to everybody."""
_PERSONAL: Final = 5
"""Users from which on different lists are expected."""


class PoisonedModelError(TailorbirdError):
    """A bundle with a valid signature whose model gives no useful lists."""


@dataclass(frozen=True)
class GoldenAnswers:
    """The lists of the golden users."""

    items: NDArray[np.int32]
    """[u, places] positions, -1 at the end of shorter lists."""
    scores: NDArray[np.float32]
    scored: NDArray[np.bool_]
    """[u] whether the model itself scored an item on the list."""


def check(bundle: Bundle) -> GoldenAnswers:
    """Return the lists of the golden users, whose computation also warms the model. Raises PoisonedModelError."""
    _check_arrays(bundle)
    answers = _answers(bundle)
    personal = bundle.model.kind not in _SAME_FOR_ALL
    listed = answers.items >= 0
    distinct = len(np.unique(answers.items[listed]))
    enough = min(PLACES + 1, int(bundle.available.sum()))
    several = personal and len(answers.items) >= _PERSONAL
    faults = {
        "a list without any item": not listed.any(axis=1).all(),
        "a score that is no number": not np.isfinite(answers.scores[listed]).all(),
        "no score of the model for any user": len(answers.scored) > 0 and not answers.scored.any(),
        "the same list for everybody": several and bool((answers.items == answers.items[0]).all()),
        f"only {distinct} different items": several and distinct < enough,
    }
    found = [fault for fault, present in faults.items() if present]
    if found:
        raise PoisonedModelError(
            f"The lists of {len(answers.items)} golden users have {' and '.join(found)}. The model that was loaded "
            "before goes on; run `tailorbird rollback model`, then train again."
        )
    return answers


def _check_arrays(bundle: Bundle) -> None:
    n = len(bundle.model.items)
    lengths = {len(part) for part in (bundle.fallback, bundle.available, bundle.buyers)}
    if not n or lengths != {n}:
        raise PoisonedModelError("The bundle has no items, or its arrays have different lengths. Train again.")
    if not bundle.available.any():
        raise PoisonedModelError("The bundle marks no item as available. Check the catalogue, and train again.")
    if not np.isfinite(bundle.fallback[bundle.available]).any():
        raise PoisonedModelError("The bundle has no popular items with a score that is a number. Train again.")


def _answers(bundle: Bundle) -> GoldenAnswers:
    users = bundle.model.users
    some = users[np.unique(np.linspace(0, len(users) - 1, min(USERS, len(users))).astype(np.int64))]
    places = min(PLACES, int(bundle.available.sum()))
    cascade = build_cascade(bundle.model, bundle.segments, bundle.fallback)
    rules = CompiledRules.plain(places, bundle.available)
    parts = list(ListBuilder(cascade, bundle.fallback, rules, bundle.buyers).build(some))
    return _joined(parts, places)


def _joined(parts: list[RankedLists], places: int) -> GoldenAnswers:
    empty = np.full((0, places), NO_INDEX, dtype=np.int32)
    items = np.concatenate([empty, *(part.items for part in parts)])
    scores = np.concatenate([empty.astype(np.float32), *(part.scores for part in parts)])
    scored = [((part.items >= 0) & ~part.from_fallback).any(axis=1) for part in parts]
    return GoldenAnswers(items, scores, np.concatenate([np.empty(0, dtype=bool), *scored]))
