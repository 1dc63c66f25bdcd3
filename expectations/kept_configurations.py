"""Keeps the configuration of each expectation for one validation: Great Expectations builds it a hundred times.

That was half of the time of a small batch's validation.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any

_Kept = dict[Any, tuple[Any, Any]]
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
    """Wrap methods of the library. Outside of `kept_configurations` they work as before."""
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.validator.validation_graph import ValidationGraph

    library: Any = Expectation
    build = library.configuration.fget
    library.configuration = property(_once(build))
    library = ExpectationConfiguration
    library.to_domain_obj = _once(library.to_domain_obj)
    library = ValidationGraph
    library.build_metric_dependency_graph = _once_per_metric(library.build_metric_dependency_graph)


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


def _once_per_metric(build: Callable[..., None]) -> Callable[..., None]:
    """Return `build`, which adds the dependencies of equal metrics to a graph once: it drops them the next times."""

    @wraps(build)
    def built(graph: Any, metric_configuration: Any, runtime_configuration: Any = None) -> None:
        kept, key = _kept.get(), (id(graph), metric_configuration.id)
        if kept is not None and key in kept:
            return
        if kept is not None:
            kept[key] = (graph, None)
        build(graph, metric_configuration, runtime_configuration)

    return built
