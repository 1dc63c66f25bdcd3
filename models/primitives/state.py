"""The state of a model: named arrays."""

from typing import Any

import numpy as np

State = dict[str, np.ndarray[Any, Any]]
"""A fitted model as named arrays, none of dtype object, so that it is stored without pickle."""
