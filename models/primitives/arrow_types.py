"""Names for types of Arrow."""

from typing import TypeAlias

import pyarrow as pa

ArrowColumn: TypeAlias = pa.Array | pa.ChunkedArray
Columns = dict[str, ArrowColumn]
"""Columns of a table by name."""
