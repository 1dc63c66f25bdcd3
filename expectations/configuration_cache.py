"""Caches the configurations of a validation, because Great Expectations builds each of them a hundred times.

That was three quarters of the time of a small batch's validation. Rows chosen by a condition are cached too, no
fingerprint of the rows is made, because nothing reads it, and a rule of one column gets no other columns.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any, Final

from expectations.suite_plans import once_per_suite

_Cache = dict[Any, tuple[Any, Any]]
"""Results by source, with the object whose identity is in the key, so that no other object gets that identity."""

_COUNTS_ALONE: Final = {"result_format": "BASIC", "partial_unexpected_count": 0}
_PLAIN: Final = (str, int, float, bool, type(None))
_cache: ContextVar[_Cache | None] = ContextVar("configurations", default=None)


@contextmanager
def cached_configurations() -> Iterator[None]:
    """Build each configuration once within the block, in this thread. Nothing may change an expectation meanwhile."""
    _install()
    token = _cache.set({})
    try:
        yield
    finally:
        _cache.reset(token)


@cache
def _install() -> None:
    """Wrap methods of the library. Outside of `cached_configurations` they work as before."""
    from great_expectations.core.config_provider import _EnvironmentConfigurationProvider
    from great_expectations.core.id_dict import IDDict
    from great_expectations.execution_engine import pandas_execution_engine as engine
    from great_expectations.expectations.expectation import ColumnMapExpectation, Expectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.validator.validation_graph import ValidationGraph
    from great_expectations.validator.validator import Validator

    library: Any = Expectation
    library.configuration = property(_once_per_object(library.configuration.fget))
    library._get_success_kwargs = _copied(_once_per_object(library._get_success_kwargs))
    library._get_runtime_kwargs = _copied(_once_per_object(library._get_runtime_kwargs))
    library = ColumnMapExpectation
    library.get_validation_dependencies = _without_values(library.get_validation_dependencies)
    library = ExpectationConfiguration
    library.to_domain_obj = _once_per_object(library.to_domain_obj)
    library = IDDict
    library.to_id = _once_per_content(library.to_id)
    library = ValidationGraph
    library.build_metric_dependency_graph = _once_per_metric(library.build_metric_dependency_graph)
    library = engine.PandasExecutionEngine
    library._apply_row_condition_filter = _once_per_condition(library._apply_row_condition_filter)
    library.get_compute_domain = _of_its_column(library.get_compute_domain)
    engine.HASH_THRESHOLD = 0
    library = _EnvironmentConfigurationProvider
    library.get_values = _once_per_object(library.get_values)
    library, listing = Validator, "_generate_metric_dependency_subgraphs_for_each_expectation_configuration"
    setattr(library, listing, once_per_suite(getattr(library, listing), _cache.get))


def _once_per_object(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return `build`, which returns the same result again for the same object and equal options within the block."""

    @wraps(build)
    def cached(source: Any, **options: Any) -> Any:
        built = _cache.get()
        if built is None:
            return build(source, **options)
        key = (build, id(source), repr(options) if options else "")
        if key not in built:
            built[key] = (source, build(source, **options))
        return built[key][1]

    return cached


def _copied(build: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return `build` with a copy of its result, to which callers may add."""

    @wraps(build)
    def copied(source: Any, **options: Any) -> dict[str, Any]:
        made = build(source, **options)
        return {name: dict(value) if type(value) is dict else value for name, value in made.items()}

    return copied


def _once_per_condition(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return `build`, which chooses rows of a frame: once for each condition."""

    @wraps(build)
    def cached(library: Any, data: Any, row_condition: Any, domain_kwargs: Any) -> Any:
        built, key = _cache.get(), (build, id(data), repr(row_condition))
        if built is None or isinstance(row_condition, str):  # a text has a parser among the arguments
            return build(library, data, row_condition, domain_kwargs)
        if key not in built:
            built[key] = (data, build(library, data, row_condition, domain_kwargs))
        return built[key][1]

    return cached


def _of_its_column(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return `build`, which returns the rows for a metric: without other columns, which each metric would copy."""

    @wraps(build)
    def narrowed(library: Any, *domain: Any, **keywords: Any) -> Any:
        data, compute, accessor = build(library, *domain, **keywords)
        built = _cache.get()
        if built is None or set(accessor) != {"column"} or accessor["column"] not in data:
            return data, compute, accessor
        key = (build, id(data), accessor["column"])
        if key not in built:
            built[key] = (data, data[accessor["column"]].to_frame())
        return built[key][1], compute, accessor

    return narrowed


def _without_values(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return `build`, which lists the metrics of an expectation: once, and without values that are never shown.

    The library lists them before and after it computes them, and computes the values even if the result has none.
    """

    @wraps(build)
    def cached(source: Any, *options: Any, **keywords: Any) -> Any:
        built, key = _cache.get(), (build, id(source))
        if built is not None and key in built:
            return built[key][1]
        listed = build(source, *options, **keywords)
        if built is not None:
            if listed.result_format.items() >= _COUNTS_ALONE.items():
                listed.remove_metric_configuration(f"{source.map_metric}.unexpected_values")
            built[key] = (source, listed)
        return listed

    return cached


def _once_per_content(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return `build`, which makes an id from a mapping's JSON: once for equal mappings of plain values."""

    @wraps(build)
    def cached(source: Any, *options: Any, **keywords: Any) -> Any:
        built = _cache.get()
        if built is None or options or keywords or not all(type(value) in _PLAIN for value in source.values()):
            return build(source, *options, **keywords)
        key = (type(source), *((name, type(value), value) for name, value in source.items()))
        if key not in built:
            built[key] = (None, build(source))
        return built[key][1]

    return cached


def _once_per_metric(build: Callable[..., None]) -> Callable[..., None]:
    """Return `build`, which adds a metric's dependencies to a graph: once, because the graph drops repeated ones."""

    @wraps(build)
    def cached(graph: Any, metric_configuration: Any, runtime_configuration: Any = None) -> None:
        built, key = _cache.get(), (id(graph), metric_configuration.id)
        if built is not None and key in built:
            return
        if built is not None:
            built[key] = (graph, None)
        build(graph, metric_configuration, runtime_configuration)

    return cached
