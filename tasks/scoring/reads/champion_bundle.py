"""Opens the champion's bundle, once for all placements that a run scores."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from infra.bundles.bundle import Bundle
from infra.bundles.promoted import load_promoted
from tasks.promotion.champion import Champion

_OPENED: Final[ContextVar[dict[int, Bundle] | None]] = ContextVar("opened bundles", default=None)
"""The bundle in use, by the id of its promotion; None outside a run."""


@contextmanager
def one_bundle() -> Iterator[None]:
    """Within the block, keep the champion's bundle open; the first placement that needs it verifies and reads it."""
    outer = _OPENED.set({})
    try:
        yield
    finally:
        _OPENED.reset(outer)


def champion_bundle(champion: Champion) -> Bundle:
    """Return the champion's bundle. A newer champion replaces the one that is kept. Raises BundleRefusedError."""
    opened = _OPENED.get()
    if opened is None:
        return load_promoted(champion)
    promotion = int(champion["promotion_id"])
    if promotion not in opened:
        opened.clear()  # before the next is read: a bundle may take gigabytes
        opened[promotion] = load_promoted(champion)
    return opened[promotion]
