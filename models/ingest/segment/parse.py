"""Parse lines of a Segment export into canonical rows. Arrow in, Arrow out; no line is lost.

Each line is one or more events (one per product), or routed (readable, but no interaction), or unreadable. A line may
be JSON as DuckDB accepts it, which is slightly more than the standard allows (NaN, a trailing comma). Of duplicate keys
the first counts.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest import normalisation
from models.ingest.canonical_schema import ANSWERS, EVENTS, ROUTED, ROW_NUMBER, UNREADABLE, ParsedLines
from models.ingest.normalisation import Spelling, nonzero_counts
from models.ingest.segment import identities, interactions, json_lines
from models.ingest.segment.event_types import MEANINGS, Meaning
from models.ingest.segment.page_rules import PageRule
from models.primitives.arrow_sql import Query, connected

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""The mark that some programs write at the beginning of a file."""
_NO_SYNONYMS: Final = Spelling()
CONSENT_CATEGORIES: Final = ("Personalization", "Advertising")
"""The categories of `context.consent.categoryPreferences` that must not be refused."""


def parse_lines(
    lines: pa.Table,
    rule: PageRule | None = None,
    *,
    meanings: Mapping[str, Meaning] = MEANINGS,
    traits: Sequence[str] = (),
    consent_categories: Sequence[str] = CONSENT_CATEGORIES,
    spelling: Spelling = _NO_SYNONYMS,
) -> ParsedLines:
    """Parse lines: `row_number` (int64, each once) and `text` (the line without its end; text or bytes).

    `rule` finds items in visited pages, `meanings` has the treatment of events (see `event_types.extended`), `traits`
    is the allow-list for users. Consent is false if one of `consent_categories` was refused, true if none was, and
    null if the line has none of them. `spelling` has further synonyms. No content of a line raises an error.

    A call takes a tenth of a second before the first line, so pass tens of thousands of lines at once. Memory grows
    with the lines of one call.
    """
    with connected() as query:
        read = json_lines.read(query, decoded(query, lines), rule, meanings, consent_categories)
        people = read.filter(pc.is_in(read["kind"], value_set=pa.array(["identify", "alias"])))
        users = identities.users(query, people, traits)
        return canonical(query, read, users, identities.aliases(query, people), spelling)


def canonical(query: Query, read: pa.Table, users: pa.Table, aliases: pa.Table, spelling: Spelling) -> ParsedLines:
    """Return the canonical rows of lines that `json_lines.read` has parsed, or a parser with the same columns."""
    entries = interactions.entries(query, read)
    happened = entries.filter(pc.is_valid(entries[columns.EVENT_TYPE])).select([*EVENTS.names, "entry"])
    events, respelt = _respelt(_in_order(happened).select(EVENTS.names).cast(EVENTS), spelling)
    items, cleaned = _respelt(interactions.items(query, entries), spelling)
    return ParsedLines(
        events=events,
        items=items,
        item_changes=_respelt(interactions.item_changes(query, entries), spelling)[0],
        users=users,
        aliases=aliases,
        answers=_answers(read),
        routed=_without_event(read, pc.is_null(read["fault"]), ROUTED, ["kind"]),
        unreadable=_without_event(read, pc.is_valid(read["fault"]), UNREADABLE, ["fault", "sha256"]),
        cleaned=cleaned | respelt,
    )


def decoded(query: Query, lines: pa.Table) -> pa.Table:
    """Return the lines as `raw` bytes and as `text`, null if the bytes are not UTF-8."""
    raw = pc.cast(lines["text"], pa.binary())
    table = pa.table({ROW_NUMBER: lines[ROW_NUMBER], "raw": raw})
    if not pc.any(pc.starts_with(raw, _BYTE_ORDER_MARK)).as_py():
        try:
            return table.append_column("text", pc.cast(raw, pa.string()))
        except pa.ArrowInvalid:  # some line is not UTF-8, and Arrow does not report which
            pass
    return query(
        """
        SELECT row_number, raw, CASE WHEN starts_with(decoded, chr(65279)) THEN decoded[2:] ELSE decoded END AS text
        FROM (SELECT row_number, raw, try(decode(raw)) AS decoded FROM lines)
        """,
        lines=table,
    )


def _respelt(rows: pa.Table, spelling: Spelling) -> tuple[pa.Table, dict[str, int]]:
    """Return the rows in canonical spelling, and the number of changed values by column."""
    ways = {
        columns.CURRENCY: (normalisation.currencies, spelling.currency),
        columns.CATEGORY: (normalisation.categories, spelling.category),
        columns.BRAND: (normalisation.brands, spelling.brand),
    }
    counts = {}
    for place, name in enumerate(rows.column_names):
        if name in ways:
            normalise, synonyms = ways[name]
            values, counts[f"{name}_respelt"] = normalise(rows[name], synonyms)
            rows = rows.set_column(place, name, values)
    return rows, nonzero_counts(**counts)


def _in_order(rows: pa.Table) -> pa.Table:
    """Return the rows by line and entry, which they usually are already."""
    line, entry = (rows[name].to_numpy() for name in (ROW_NUMBER, "entry"))
    later = (line[1:] > line[:-1]) | (line[1:] == line[:-1]) & (entry[1:] > entry[:-1])
    return rows if later.all() else rows.sort_by([(ROW_NUMBER, "ascending"), ("entry", "ascending")])


def _answers(read: pa.Table) -> pa.Table:
    stated = pc.and_(pc.is_valid(read[columns.CONSENT]), pc.is_valid(read[columns.USER_ID]))
    apart = pc.and_(stated, pc.is_null(read[columns.EVENT_TYPE]))
    return read.filter(pc.and_(apart, pc.is_null(read["fault"]))).select(ANSWERS.names).cast(ANSWERS)


def _without_event(read: pa.Table, selected: pa.ChunkedArray, schema: pa.Schema, names: list[str]) -> pa.Table:
    """Return the selected lines that are no event, in their order, under the names of the schema."""
    chosen = pc.and_(selected, pc.is_null(read[columns.EVENT_TYPE]))
    rows = read.select([ROW_NUMBER, *names]).filter(chosen).rename_columns(schema.names)
    return rows.sort_by(ROW_NUMBER).cast(schema)
