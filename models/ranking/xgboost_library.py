"""Import XGBoost in a fraction of its time and memory: without its wrappers for scikit-learn, and without its plots.

Decision 7 has the figures.
"""

import sys
from functools import cache
from threading import get_ident
from typing import Any, Final

_HIDDEN: Final = frozenset({"sklearn", "xgboost.plotting", "xgboost.sklearn"})


@cache
def xgboost() -> Any:
    """Return the module `xgboost`; its first import loads no scikit-learn, `scipy.stats` or `scipy.special`."""
    finder = _WithoutWrappers(get_ident())
    sys.meta_path.insert(0, finder)
    try:
        import xgboost as library
    finally:
        sys.meta_path.remove(finder)
    return library


class _WithoutWrappers:
    """A finder that reports them as not installed to one thread; XGBoost then does without them."""

    def __init__(self, thread: int) -> None:
        self._thread = thread

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> None:
        """Return nothing, so that Python tries other finders. Raises ModuleNotFoundError for what is hidden."""
        if name in _HIDDEN and get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is not imported with XGBoost", name=name)
