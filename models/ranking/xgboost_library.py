"""Import XGBoost in a quarter of its time: without scikit-learn, which only its wrappers need."""

import sys
from functools import cache
from threading import get_ident
from typing import Any, Final

_HIDDEN: Final = "sklearn"


@cache
def xgboost() -> Any:
    """Return the module `xgboost`; its first import loads no scikit-learn, and with it none of `scipy.stats`."""
    finder = _WithoutSklearn(get_ident())
    sys.meta_path.insert(0, finder)
    try:
        import xgboost as library
    finally:
        sys.meta_path.remove(finder)
    return library


class _WithoutSklearn:
    """A finder that reports scikit-learn as not installed to one thread; XGBoost then does without it."""

    def __init__(self, thread: int) -> None:
        self._thread = thread

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> None:
        """Return nothing, so that Python tries other finders. Raises ModuleNotFoundError for scikit-learn."""
        if name == _HIDDEN and get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is not imported with XGBoost", name=name)
