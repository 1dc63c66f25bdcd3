"""Lines of a table that do not fit its header, as quarantine keeps them: only a hash of the text, and its shape."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from infra.keys.identity import pseudonyms
from models.columns import ROW
from models.ingest.check.rule_advice import LINE_UNREADABLE
from models.ingest.tabular.unreadable_cells import shape
from tasks.ingest.validation import row_triage
from tasks.sources.misfit_lines import MisfitLine
from tasks.sources.table_files import Places


def waiting_lines(lines: Sequence[MisfitLine], places: Places, key: bytes) -> pa.Table | None:
    """Return misfit lines as rows for quarantine, or None if there are none.

    Which value of such a line is the user's id is not known, so `line_hash` is keyed, as pseudonyms are.
    """
    if not lines:
        return None
    numbers = np.array([line.number for line in lines])
    return pa.table(
        {
            places.numbered: pa.array(places.of(numbers), pa.int64()),
            "values": [line.values for line in lines],
            "columns": [line.columns for line in lines],
            "text": [shape(line.text) for line in lines],
            "line_hash": pseudonyms(pa.array([line.text for line in lines], pa.string()), key),
            ROW: pa.array(numbers, pa.int64()),
            row_triage.RULES: pa.array([[LINE_UNREADABLE]] * len(lines), pa.list_(pa.string())),
        }
    )
