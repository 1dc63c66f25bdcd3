"""SciPy comes without parts of NumPy that nobody uses, which other code can still use."""

import subprocess
import sys

CODE = """
import sys
from serving.http.scipy_library import import_sparse_matrices

import_sparse_matrices()
assert "scipy.sparse" in sys.modules
assert not {"numpy.f2py", "numpy.testing", "numpy.ma", "unittest"} & set(sys.modules)
import numpy as np
assert {"testing", "ma"} <= set(np.__all__) & set(dir(np))
assert np.ma.masked_array([1]).sum() == 1
import scipy.stats
assert scipy.stats.norm.cdf(0) == 0.5
"""


def test_sparse_matrices_are_imported_without_unused_parts_of_numpy() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)
