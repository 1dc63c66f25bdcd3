"""Imports Great Expectations in two thirds of its time: without packages that only expectations of no suite need."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_DEFERRED: Final = ("scipy.stats", "altair")
"""What compares distributions and draws them."""


@cache
def great_expectations() -> Any:
    """Return the module `great_expectations`; what it defers is imported by the first expectation that needs it."""
    with _deferred():
        import great_expectations as library
    return library


def expectation_classes() -> Any:
    """Return the module of all expectations."""
    return great_expectations().expectations


class _Deferred(ModuleType):
    """Stands in for a module that is imported once somebody looks into it."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


@contextmanager
def _deferred() -> Iterator[None]:
    """Let imports find stand-ins, which only those who imported meanwhile keep."""
    stand_ins = {name: _Deferred(name) for name in _DEFERRED if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
