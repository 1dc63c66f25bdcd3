"""Imports Great Expectations in two thirds of its time, without packages that no suite needs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_DEFERRED: Final = ("scipy.stats", "altair")
"""Packages that compare distributions and draw them."""


@cache
def great_expectations() -> Any:
    """Return the module `great_expectations`; deferred packages are imported when an expectation needs them."""
    with _deferred():
        import great_expectations as library
    return library


def expectation_classes() -> Any:
    """Return the module of all expectations."""
    return great_expectations().expectations


class _Deferred(ModuleType):
    """Replaces a module until its first attribute is used."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


@contextmanager
def _deferred() -> Iterator[None]:
    """Replace modules within the block; only modules imported meanwhile keep the replacements."""
    stand_ins = {name: _Deferred(name) for name in _DEFERRED if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
