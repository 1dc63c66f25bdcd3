"""Describes lines of a table that do not fit its header for quarantine: a hash of the text, and its shape."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from infra.keys.identity import pseudonyms
from models.columns import ROW
from models.ingest.check.advice import LINE_UNREADABLE
from models.ingest.tabular.unreadable_cells import shape
from tasks.ingest.validation import row_triage
from tasks.sources.misfit_lines import MisfitLine
from tasks.sources.table_files import RowNumbering


def quarantined_lines(lines: Sequence[MisfitLine], numbering: RowNumbering, key: bytes) -> pa.Table | None:
    """Return misfit lines as rows for quarantine, or None if there are none.

    The user id is somewhere in such a line, so `line_hash` is keyed, as pseudonyms are.
    """
    if not lines:
        return None
    positions = np.array([line.number for line in lines])
    return pa.table(
        {
            numbering.unit: pa.array(numbering.numbers(positions), pa.int64()),
            "values": [line.values for line in lines],
            "columns": [line.columns for line in lines],
            "text": [shape(line.text) for line in lines],
            "line_hash": pseudonyms(pa.array([line.text for line in lines], pa.string()), key),
            ROW: pa.array(positions, pa.int64()),
            row_triage.RULES: pa.array([[LINE_UNREADABLE]] * len(lines), pa.list_(pa.string())),
        }
    )
