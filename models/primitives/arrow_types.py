"""Arrow: names for its types, and its modules on first use. A server that answers from a bundle needs none of it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

__all__ = ["ArrowColumn", "Columns", "pa", "pc"]


class _OnFirstUse:
    """Stands for a module until one of its names is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

    ArrowColumn: TypeAlias = pa.Array | pa.ChunkedArray
    Columns = dict[str, ArrowColumn]
    """Columns of a table by name."""
else:
    pa, pc = _OnFirstUse("pyarrow"), _OnFirstUse("pyarrow.compute")
    ArrowColumn = Columns = Any
