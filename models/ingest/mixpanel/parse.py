"""Parse lines of Mixpanel into canonical rows. Arrow in, Arrow out; no line is lost."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.canonical_schema import ParsedLines
from models.ingest.mixpanel import identities, json_lines
from models.ingest.mixpanel.json_lines import Reading
from models.ingest.normalisation import Spelling, nonzero_counts
from models.ingest.segment import identities as segment_identities
from models.ingest.segment.parse import canonical, decoded
from models.primitives.arrow_sql import connected

_NO_SYNONYMS: Final = Spelling()


def parse_lines(
    lines: pa.Table, reading: Reading, *, traits: Sequence[str] = (), spelling: Spelling = _NO_SYNONYMS
) -> ParsedLines:
    """Parse lines: `row_number` (int64, each once) and `text` (the line without its end; text or bytes).

    `traits` is the allow-list of profile properties. No content of a line raises an error.
    """
    with connected() as query:
        read = json_lines.read(query, decoded(query, lines), reading)
        users = segment_identities.users(query, read.filter(pc.equal(read["kind"], "identify")), traits)
        parsed = canonical(query, read, users, identities.aliases(query, read), spelling)
        unusable = int(pc.sum(read["insert_id_unusable"]).as_py() or 0)
        return replace(parsed, cleaned=parsed.cleaned | nonzero_counts(insert_id_unusable=unusable))
