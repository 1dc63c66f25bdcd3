"""Keeps the configuration of each expectation for one validation: Great Expectations builds it a hundred times.

That was half of the time of a small batch's validation.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any

_Kept = dict[int, tuple[Any, Any]]
"""By the identity of an object: the object, so that no other one gets its identity, and what was built from it."""

_kept: ContextVar[_Kept | None] = ContextVar("kept", default=None)


@contextmanager
def kept_configurations() -> Iterator[None]:
    """Build each configuration once within the block, in this thread. Nobody may change an expectation meanwhile."""
    _install()
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


@cache
def _install() -> None:
    """Wrap the two conversions of the library. Outside of `kept_configurations` they work as before."""
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    library: Any = Expectation
    build = library.configuration.fget
    library.configuration = property(_once(build))
    library = ExpectationConfiguration
    library.to_domain_obj = _once(library.to_domain_obj)


def _once(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `build`, which returns the same object again for the same argument while objects are kept."""

    @wraps(build)
    def built(source: Any) -> Any:
        kept = _kept.get()
        if kept is None:
            return build(source)
        if id(source) not in kept:
            kept[id(source)] = (source, build(source))
        return kept[id(source)][1]

    return built
