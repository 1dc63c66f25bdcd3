"""Arrow, imported on first use: a server that answers from a bundle needs none of it, and it is large."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["pa", "pc"]


class _OnFirstUse:
    """Stands for a module until one of its names is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pa, pc = _OnFirstUse("pyarrow"), _OnFirstUse("pyarrow.compute")
