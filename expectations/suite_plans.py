"""Keeps the plan of a suite, which lists the metrics of its expectations, for the next validation of an equal suite.

Making the plan takes two fifths of a small batch's validation, and a process validates the same suites again and again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

_MOST: Final = 16
"""Number of plans that a process keeps."""


@dataclass(frozen=True)
class _Plan:
    """What the library makes of a suite before it looks at rows."""

    configurations: list[Any]
    edges: list[list[Any]]
    """The metrics of each expectation, each with one that it needs."""
    built: Mapping[Any, tuple[Any, Any]]
    """What was cached of these configurations."""


_plans: dict[Any, _Plan] = {}


def once_per_suite(build: Callable[..., Any], cache: Callable[[], dict[Any, tuple[Any, Any]] | None]) -> Any:
    """Return `build`, which lists the metrics of a suite's expectations: once for equal suites, while there is a cache.

    A suite with an expectation that cannot be listed is listed each time.
    """
    from great_expectations.validator.validation_graph import ExpectationValidationGraph, ValidationGraph

    @wraps(build)
    def planned(
        validator: Any,
        expectation_configurations: Iterable[Any],
        processed_configurations: list[Any],
        catch_exceptions: bool,
        runtime_configuration: Any = None,
    ) -> tuple[list[Any], list[Any], list[Any]]:
        built, wanted = cache(), list(expectation_configurations)
        if built is None or processed_configurations:
            made: tuple[list[Any], list[Any], list[Any]] = build(
                validator, wanted, processed_configurations, catch_exceptions, runtime_configuration
            )
            return made
        key = (validator.active_batch_id, catch_exceptions, repr(runtime_configuration), *map(_content, wanted))
        plan = _plans.get(key)
        if plan is None:
            before = set(built)
            graphs, failed, processed = build(validator, wanted, [], catch_exceptions, runtime_configuration)
            if not failed:
                kept = {name: entry for name, entry in built.items() if name not in before and not _of_a_graph(name)}
                _keep(key, _Plan(list(processed), [list(graph.graph.edges) for graph in graphs], kept))
            return graphs, failed, processed
        built.update(plan.built)
        graphs = [
            ExpectationValidationGraph(
                configuration=configuration,
                graph=ValidationGraph(execution_engine=validator._execution_engine, edges=list(edges)),
            )
            for configuration, edges in zip(plan.configurations, plan.edges, strict=True)
        ]
        return graphs, [], list(plan.configurations)

    return planned


def _content(configuration: Any) -> tuple[object, ...]:
    """Return what makes an expectation equal to another."""
    texts = (configuration.kwargs, configuration.meta, configuration.severity)
    return (configuration.type, *map(repr, texts))


def _of_a_graph(name: Any) -> bool:
    """Return whether an entry of the cache belongs to a graph, and with it to the rows of one validation."""
    return isinstance(name[0], int)


def _keep(key: Any, plan: _Plan) -> None:
    while len(_plans) >= _MOST:
        _plans.pop(next(iter(_plans)), None)
    _plans[key] = plan
