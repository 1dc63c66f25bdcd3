"""Lets a validation build each configuration once: Great Expectations builds it a hundred times.

That was two thirds of the time of a small batch's validation.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any, Final

_Kept = dict[Any, tuple[Any, Any]]
"""What was built, by its source, with the object whose identity is in the key: no other object may get it."""

_PLAIN: Final = (str, int, float, bool, type(None))
_kept: ContextVar[_Kept | None] = ContextVar("kept", default=None)


@contextmanager
def kept_configurations() -> Iterator[None]:
    """Build each configuration once within the block, in this thread. Nothing may change an expectation meanwhile."""
    _install()
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


@cache
def _install() -> None:
    """Wrap methods of the library. Outside of `kept_configurations` they work as before."""
    from great_expectations.core.id_dict import IDDict
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.validator.validation_graph import ValidationGraph

    library: Any = Expectation
    library.configuration = property(_once_per_object(library.configuration.fget))
    library = ExpectationConfiguration
    library.to_domain_obj = _once_per_object(library.to_domain_obj)
    library = IDDict
    library.to_id = _once_per_content(library.to_id)
    library = ValidationGraph
    library.build_metric_dependency_graph = _once_per_metric(library.build_metric_dependency_graph)


def _once_per_object(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `build`, which returns the same result again for the same object while results are kept."""

    @wraps(build)
    def built(source: Any) -> Any:
        kept = _kept.get()
        if kept is None:
            return build(source)
        if id(source) not in kept:
            kept[id(source)] = (source, build(source))
        return kept[id(source)][1]

    return built


def _once_per_content(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return `build`, which makes an id from a mapping's JSON: once for equal mappings of plain values."""

    @wraps(build)
    def built(source: Any, *options: Any, **named: Any) -> Any:
        kept = _kept.get()
        if kept is None or options or named or not all(type(value) in _PLAIN for value in source.values()):
            return build(source, *options, **named)
        key = (type(source), *((name, type(value), value) for name, value in source.items()))
        if key not in kept:
            kept[key] = (None, build(source))
        return kept[key][1]

    return built


def _once_per_metric(build: Callable[..., None]) -> Callable[..., None]:
    """Return `build`, which adds a metric's dependencies to a graph: once, because the graph drops repeated ones."""

    @wraps(build)
    def built(graph: Any, metric_configuration: Any, runtime_configuration: Any = None) -> None:
        kept, key = _kept.get(), (id(graph), metric_configuration.id)
        if kept is not None and key in kept:
            return
        if kept is not None:
            kept[key] = (graph, None)
        build(graph, metric_configuration, runtime_configuration)

    return built
