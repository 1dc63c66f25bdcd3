"""Import SciPy in half of its time: without the parts of NumPy that its import alone would load."""

from typing import Any


def import_sparse_matrices() -> None:
    """Import `scipy.sparse`, without NumPy's tests, compiler of Fortran and other parts that are loaded on first use.

    SciPy copies all names of NumPy, and with each of these names a part would be loaded. Call it in the only thread of
    a process, before anything else imports SciPy.
    """
    import numpy as np

    library: Any = np
    listed, directory = library.__all__, library.__dir__
    library.__all__ = [name for name in listed if name in vars(library)]
    library.__dir__ = lambda: list(vars(library))
    try:
        import scipy.sparse  # noqa: F401
    finally:
        library.__all__, library.__dir__ = listed, directory
