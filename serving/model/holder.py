"""Holds the champion, and replaces it within seconds of a promotion or a rollback; answers never wait for it.

Each is checked before it answers: a signed bundle can hold a model that learned nothing, or NaN.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final

import numpy as np
from numpy.typing import NDArray

from infra.bundles.arrays import OtherKeyError
from infra.bundles.bundle import Bundle
from infra.bundles.manifest import BundleRefusedError
from models.errors import TailorbirdError
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.rules.compiled_rules import CompiledRules
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.item_based.item_evidence import ItemEvidence
from serving.model.loaded_model import LoadedModel
from serving.model.sources import Candidate, ChampionCopy, ModelSource

USERS: Final = 24
"""Golden users: evenly spaced among the model's."""
PLACES: Final = 10
_SAME_FOR_ALL: Final = ("most_popular", "segment_popular")
"""Kinds that may give one list to everybody."""
_PERSONAL: Final = 5
"""Users from which on different lists are expected."""


class PoisonedModelError(TailorbirdError):
    """A bundle with a valid signature whose model gives no useful lists."""


_Identity = tuple[str, int | None, frozenset[str]]
_LOG: Final = logging.getLogger(__name__)
POLL_SECONDS: Final = 5.0
"""The time until a promotion is noticed without a notification."""
_PATIENCE: Final = 2.5
"""Seconds that a start waits for the source if there is a copy."""
RETRY_SECONDS: Final = 60.0
"""The time until a refused bundle is tried again: its folder may be restored."""


@dataclass(frozen=True)
class ReloadFailure:
    """A champion that was not loaded; the one before goes on."""

    reason: str
    """A label for metrics: `refused` (signature, checksums), `poisoned`, `other_key`, `unreadable`."""
    detail: str
    model_version: int | None


class ModelHolder:
    """The champion of this process."""

    def __init__(
        self,
        source: ModelSource,
        copy: ChampionCopy | None = None,
        *,
        known: LoadedModel | None = None,
        poll_seconds: float = POLL_SECONDS,
        on_loaded: Callable[[LoadedModel], None] | None = None,
        on_failure: Callable[[ReloadFailure], None] | None = None,
    ) -> None:
        """Read from `source`, and from `copy` while the source gives no sound champion at the start.

        `known` is a checked bundle in memory, which is not read again if it is the champion.
        `on_loaded` and `on_failure` are called in the thread that loads, such as to set metrics.
        """
        self._source, self._copy, self._poll = source, copy, poll_seconds
        self._on_loaded, self._on_failure = on_loaded, on_failure
        self._current: LoadedModel | None = None
        self._known = known
        self._loaded: _Identity | None = None
        self._tried: tuple[Path, _Identity, float] | None = None
        self._wake, self._stopped, self._loading = Event(), False, Lock()
        self._thread: Thread | None = None
        self.failures = 0
        self.last_failure: ReloadFailure | None = None
        """The reason while the newest champion is not the loaded one; None once it is."""

    def current(self) -> LoadedModel | None:
        """Return the champion; None before the first one is loaded. It stays the same object until it is replaced."""
        return self._current

    def open(self) -> LoadedModel | None:
        """Load the champion now, or else the copy of the last one; return it. Errors are recorded, not raised.

        If there is a copy, a source that does not answer within seconds is not waited for.
        """
        attempt = Thread(target=self.refresh, name="first champion", daemon=True)
        attempt.start()
        attempt.join(_PATIENCE if self._copy is not None and self._copy.newest() is not None else None)
        with self._loading:
            candidate = None if self._copy is None or self._current is not None else self._copy.newest()
            if candidate is not None:
                self._load(candidate)
        return self._current

    def refresh(self) -> bool:
        """Load the newest champion if it is another one than the loaded one; return whether it was replaced."""
        try:
            candidate = self._source.newest()
        except OSError:  # the source is away: the champion goes on
            return False
        with self._loading:
            if candidate is None or self._is_loaded(candidate) or self._failed_lately(candidate):
                return False
            return self._load(candidate)

    def start(self) -> None:
        """Look for another champion in a thread from now on."""
        self._thread = Thread(target=self._watch, name="champion", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """Look for another champion now, because a promotion was announced. Returns at once."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopped:
            self._wake.wait(self._poll)
            self._wake.clear()
            if not self._stopped:
                with suppress(Exception):
                    self.refresh()

    def _is_loaded(self, candidate: Candidate) -> bool:
        if self._loaded != _identity(candidate):
            return False
        self.last_failure = None
        return True

    def _failed_lately(self, candidate: Candidate) -> bool:
        if self._tried is None:
            return False
        folder, tried, at = self._tried  # the copy of a sound bundle may be damaged
        return (folder, tried) == (candidate.folder, _identity(candidate)) and time.monotonic() - at < RETRY_SECONDS

    def _load(self, candidate: Candidate) -> bool:
        """Verify, open, check and warm a bundle, then make it the champion in one assignment."""
        try:
            loaded = _opened(candidate, self._current or self._known)
        except PoisonedModelError as error:
            return self._fail(candidate, "poisoned", str(error))
        except OtherKeyError as error:
            return self._fail(candidate, "other_key", str(error))
        except TailorbirdError as error:  # such as BundleRefusedError
            return self._fail(candidate, "refused", str(error))
        except Exception:  # a signed bundle that this version cannot read
            _LOG.exception("The bundle %s cannot be read.", candidate.folder)
            return self._fail(candidate, "unreadable", f"{candidate.folder} cannot be read; train again.")
        is_copied = loaded is self._known  # by the process that loaded it
        self._current, self._loaded = loaded, _identity(candidate)
        self._tried = self.last_failure = self._known = None
        if self._on_loaded is not None:
            self._on_loaded(loaded)
        if self._copy is not None and not is_copied and candidate.folder.parent != self._copy.folder:
            try:
                self._copy.store(candidate, loaded.digest)
            except (BundleRefusedError, OSError):  # answers do not depend on the copy
                text = "The champion could not be copied to %s: check its disk. A start without the database needs it."
                _LOG.warning(text, self._copy.folder)
        return True

    def _fail(self, candidate: Candidate, reason: str, detail: str) -> bool:
        self._tried = candidate.folder, _identity(candidate), time.monotonic()
        self.failures += 1
        self.last_failure = ReloadFailure(reason, detail, candidate.model_version)
        _LOG.error("The champion was not replaced: %s", detail)
        if self._on_failure is not None:
            self._on_failure(self.last_failure)
        return False


def _identity(candidate: Candidate) -> _Identity:
    return candidate.digest, candidate.promotion_id, candidate.erased


def _opened(candidate: Candidate, before: LoadedModel | None) -> LoadedModel:
    """Return the model of a bundle; the loaded one is used again for a promotion of the same bundle."""
    if before is not None and (before.digest, before.bundle.erased) == (candidate.digest, candidate.erased):
        if (before.model_version, before.promotion_id) == (candidate.model_version, candidate.promotion_id):
            return before  # the same object, so that what was built from it counts
        return LoadedModel(before.bundle, before.evidence, candidate.model_version, candidate.promotion_id)
    bundle: Bundle = candidate.open()
    _check(bundle)
    evidence = ItemEvidence.of(bundle.model)
    evidence.warm()
    return LoadedModel(bundle, evidence, candidate.model_version, candidate.promotion_id)


def _check(bundle: Bundle) -> None:
    """Make the lists of golden users, which also warms the model. Raises PoisonedModelError."""
    _check_arrays(bundle)
    items, scores, scored = _answers(bundle)
    personal = bundle.model.kind not in _SAME_FOR_ALL
    listed = items >= 0
    distinct = len(np.unique(items[listed]))
    enough = min(PLACES + 1, int(bundle.available.sum()))
    several = personal and len(items) >= _PERSONAL
    faults = {
        "a list without any item": not listed.any(axis=1).all(),
        "a score that is no number": not np.isfinite(scores[listed]).all(),
        "no score of the model for any user": len(scored) > 0 and not scored.any(),
        "the same list for everybody": several and bool((items == items[0]).all()),
        f"only {distinct} different items": several and distinct < enough,
    }
    found = [fault for fault, present in faults.items() if present]
    if found:
        raise PoisonedModelError(
            f"The lists of {len(items)} golden users have {' and '.join(found)}. The model that was loaded "
            'before goes on; run `tailorbird rollback model --reason "broken scores"`, then train again.'
        )


def _check_arrays(bundle: Bundle) -> None:
    n = len(bundle.model.items)
    lengths = {len(part) for part in (bundle.fallback, bundle.available, bundle.buyers)}
    if not n or lengths != {n}:
        raise PoisonedModelError("The bundle has no items, or its arrays have different lengths. Train again.")
    if not bundle.available.any():
        raise PoisonedModelError("The bundle marks no item as available. Check the catalogue, and train again.")
    if not np.isfinite(bundle.fallback[bundle.available]).any():
        raise PoisonedModelError("The bundle has no popular items with a score that is a number. Train again.")


def _answers(bundle: Bundle) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return the lists of the golden users: items [u, places], -1 at the end of shorter ones, and their scores.

    The last array [u] tells whether the model itself scored an item on the list.
    """
    users = bundle.model.users
    some = users[np.unique(np.linspace(0, len(users) - 1, min(USERS, len(users))).astype(np.int64))]
    places = min(PLACES, int(bundle.available.sum()))
    cascade = build_cascade(bundle.model, bundle.segments, bundle.fallback)
    rules = CompiledRules.plain(places, bundle.available)
    parts = list(ListBuilder(cascade, bundle.fallback, rules, bundle.buyers).build(some))
    empty = np.full((0, places), NO_INDEX, dtype=np.int32)
    items = np.concatenate([empty, *(part.items for part in parts)])
    scores = np.concatenate([empty.astype(np.float32), *(part.scores for part in parts)])
    scored = [((part.items >= 0) & ~part.from_fallback).any(axis=1) for part in parts]
    return items, scores, np.concatenate([np.empty(0, dtype=bool), *scored])
