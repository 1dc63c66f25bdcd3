"""Parse lines of a Segment export into canonical rows. Arrow in, Arrow out; no line is lost.

Each line is one or more events (one per product), or routed (readable, but no interaction), or unreadable. A line may
be JSON as DuckDB accepts it, which is slightly more than the standard allows (NaN, a trailing comma). Of duplicate keys
the first counts.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest import source_config
from models.ingest.canonical_schema import ANSWERS, EVENTS, ROUTED, ROW_NUMBER, UNREADABLE, ParsedLines
from models.ingest.segment import interactions
from models.ingest.segment.event_types import ACTION_FIRST, MEANINGS, Meaning
from models.ingest.segment.fields import (
    BLOCK,
    CONTEXT,
    IDS,
    LINE,
    NOT_JSON,
    PAGE_PLACES,
    TYPES,
    WHOLE,
    consent,
    instant,
    pointers,
    product_ids,
    word,
)
from models.ingest.source_config import NO_SYNONYMS, Spelling, nonzero_counts
from models.primitives.arrow_sql import Query, connected, literal, statement_of, texts

VISIT: Final = "view"
"""The event type of a visited page."""


@dataclass(frozen=True)
class PageRule:
    """A regular expression that finds the item in a page's path or address, as its group `item_id`.

    `/film/(?P<item_id>[^/?#]+)` for example. It has to be valid for Python and for RE2, which has no look-around and
    no back-references. Raises ValueError for an invalid expression, or one without such a group.
    """

    pattern: str

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.pattern).groupindex
            pc.match_substring_regex(pa.array([""]), self.pattern)
        except (re.error, pa.ArrowInvalid) as error:
            raise ValueError(f"the page rule {self.pattern!r} is no regular expression: {error}") from error
        if columns.ITEM_ID not in groups:
            raise ValueError(f"the page rule {self.pattern!r} has no group (?P<item_id>...) to name the item")

    def item(self, *places: str) -> str:
        """Return SQL for the id of the item in the first of the places that has one, else null."""
        # As an element of a list of literals the optimizer makes it a constant, so the pattern is compiled once.
        pattern = f"{texts([self.pattern])}[1]"
        group = re.compile(self.pattern).groupindex[columns.ITEM_ID]
        ids = ", ".join(f"nullif(regexp_extract({place}, {pattern}, {group}), '')" for place in places)
        return f"coalesce({ids})"


_LINE: Final = json.dumps(dict(LINE))
"""The structure that extracts all members of a line in one parse."""


def meaning_table(meanings: Mapping[str, Meaning]) -> tuple[str, str]:
    """Return SQL for the table of meanings: the enum of its names, and the meanings in the order of that enum.

    A join with a table would lose the order of the lines.
    """
    structs = [
        f"{{'event_type': {literal(meaning.event_type) if meaning.event_type else 'NULL::VARCHAR'}, "
        f"'kind': {literal(meaning.kind)}, 'many': {meaning.many}, 'reads': {meaning.products}, "
        f"'id_first': {name in ACTION_FIRST}}}"
        for name, meaning in meanings.items()
    ]
    return f"ENUM ({', '.join(map(literal, meanings))})", f"[{', '.join(structs)}]"


def _statement(rule: PageRule | None, meanings: Mapping[str, Meaning], categories: Sequence[str]) -> str:
    """Return SQL for one row per line of `row_number`, `raw` (bytes) and `text` (null if not UTF-8).

    A line with a `fault` cannot be read. A line with an `event_type` is one event for each of its `blocks`; a line
    with only `blocks` updates the catalogue.
    """
    names, structs = meaning_table(meanings)
    places = (*(f"p.{name}" for name in PAGE_PLACES), "message.name")
    return statement_of(
        Path(__file__).with_name("calls.sql"),
        line=_LINE,
        types=TYPES,
        not_json=NOT_JSON,
        names=names,
        meanings=structs,
        visit=VISIT,
        event=word("message.event"),
        ids=", ".join(f"{word(f'message.{member}')} AS {name}" for name, member in IDS.items()),
        context=", ".join(f"message.context.{member} AS {name}" for name, member in CONTEXT.items()),
        product=", ".join(word(f"p.{name}") for name in product_ids(id_first=False)),
        own=", ".join(f"{name} := p.{name}" for name in BLOCK),
        page=", ".join(f"{name} := {'page_item' if name == 'product_id' else 'NULL::VARCHAR'}" for name in BLOCK),
        page_item="NULL::VARCHAR" if rule is None else rule.item(*places),
        whole=", ".join(f"{name} := p.{name}" for name in WHOLE),
        answers=f"json_extract_string(message.context.consent.categoryPreferences, {pointers(categories)})",
        consent=consent("answers", categories),
        occurred_at=instant('message."timestamp"'),
        received_at=instant("message.receivedAt"),
    )


_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""The mark that some programs write at the beginning of a file."""
CONSENT_CATEGORIES: Final = ("Personalization", "Advertising")
"""The categories of `context.consent.categoryPreferences` that must not be refused."""


def parse_lines(
    lines: pa.Table,
    rule: PageRule | None = None,
    *,
    meanings: Mapping[str, Meaning] = MEANINGS,
    traits: Sequence[str] = (),
    consent_categories: Sequence[str] = CONSENT_CATEGORIES,
    spelling: Spelling = NO_SYNONYMS,
) -> ParsedLines:
    """Parse lines: `row_number` (int64, each once) and `text` (the line without its end; text or bytes).

    `rule` finds items in visited pages, `meanings` has the treatment of events (see `event_types.extended`), `traits`
    is the allow-list for users. Consent is false if one of `consent_categories` was refused, true if none was, and
    null if the line has none of them. `spelling` has further synonyms. No content of a line raises an error.

    A call takes a tenth of a second before the first line, so pass tens of thousands of lines at once. Memory grows
    with the lines of one call.
    """
    with connected() as query:
        read = query(_statement(rule, meanings, consent_categories), lines=decoded(query, lines))
        people = read.filter(pc.is_in(read["kind"], value_set=pa.array(["identify", "alias"])))
        users = interactions.users(query, people, traits)
        return canonical(query, read, users, interactions.aliases(query, people), spelling)


def canonical(query: Query, read: pa.Table, users: pa.Table, aliases: pa.Table, spelling: Spelling) -> ParsedLines:
    """Return the canonical rows of lines that `read` has parsed, or a parser with the same columns."""
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
        columns.CURRENCY: (source_config.currencies, spelling.currency),
        columns.CATEGORY: (source_config.categories, spelling.category),
        columns.BRAND: (source_config.brands, spelling.brand),
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
