"""Find rows that a mapping reads without an error but that look wrong, for a person to check. Arrow in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest.draft.mapping_text import key, source_text, toml
from models.ingest.draft.roles import event_words, possible_event_words
from models.ingest.draft.samples import Sample
from models.ingest.draft.vocabulary import event_type_of
from models.ingest.source_config import SourceMapping
from models.ingest.tabular import table_mapping
from models.ingest.tabular.expressions import Source, columns_of, listed
from models.ingest.tabular.timestamps import instants
from models.ingest.tabular.unreadable_cells import UnreadableCells
from models.primitives.arrow_sql import query
from models.primitives.arrow_types import ArrowColumn

_EMAIL: Final = r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$"
_MOST_EXAMPLES: Final = 5
_LAST_MONTH: Final = 12
_LEAST_DATES: Final = 13
"""Among this many different dates of real data almost always one has a day above 12."""
_CENTS: Final = 100
_MAYBE: Final = 0.5
"""A share of values above this is no coincidence."""


@dataclass(frozen=True)
class Suspicion:
    """A guess about a part of a mapping."""

    id: str
    says: str
    write: str = ""
    """The lines of the mapping if the guess is right."""


def with_counts(words: Mapping[str, int], shown: Iterable[str]) -> str:
    """Return the words to show with their numbers, for a sentence."""
    return ", ".join(f"{word!r} ({words[word]:,})" for word in shown)


def translations(words: Iterable[str]) -> list[str]:
    """Return a line of a mapping for each word, with its event type if it is known."""
    return [f"{key(word)} = {toml(event_type_of(word) or '…')}" for word in words]


def swapped_dates(cells: pa.ChunkedArray, time_format: str) -> Iterable[Suspicion]:
    """Yield a guess if the format with day and month swapped reads more cells, or as many without a day above 12."""
    if not ("%d" in time_format and "%m" in time_format):
        return
    other = time_format.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")
    moments, swapped = (instants(cells, [one], "UTC") for one in (time_format, other))
    reads, reads_swapped = (len(times) - times.null_count for times in (moments, swapped))
    write = f"time_format = {toml(other)}"
    if reads_swapped > reads:
        counts = f"{reads:,} times are read, with day and month swapped {reads_swapped:,}"
        yield Suspicion("day_and_month_swapped", f"Day and month are probably swapped: {counts}.", write)
    elif reads == reads_swapped and reads:
        dates = pc.count_distinct(pc.floor_temporal(moments, unit="day"), mode="only_valid").as_py()
        if dates >= _LEAST_DATES and pc.max(pc.day(moments)).as_py() <= _LAST_MONTH:
            message = f"Day and month may be swapped: none of {dates:,} different dates has a day above {_LAST_MONTH}."
            yield Suspicion("day_and_month_swapped", message, write)


def ambiguous_times(cells: pa.ChunkedArray, formats: Sequence[str]) -> Iterable[Suspicion]:
    """Yield the number of cells that two formats of a list read as different times."""
    texts = pc.cast(cells, pa.string())
    for first, second in combinations(formats, 2):
        one, other = (instants(texts, [form], "UTC") for form in (first, second))
        apart = texts.filter(pc.fill_null(pc.not_equal(one, other), False))
        if len(apart):
            message = (
                f"{first} and {second} both read {len(apart):,} cells, such as {apart[0].as_py()!r}, and as different "
                f"times. {first} counts, because it comes first in `time_format`."
            )
            yield Suspicion("ambiguous_times", message)


def unreadable_cells(unread: Iterable[UnreadableCells]) -> Iterable[Suspicion]:
    """Yield the unreadable cells of each column, with the settings that would read most of them."""
    for one in unread:
        most = max(one.better.values(), default=0)
        ways = [way.replace("`", "").replace(" and ", "\n") for way, reads in one.better.items() if reads == most]
        yield Suspicion("unreadable_cells", replace(one, places=()).sentence, "\n# or\n".join(ways))


def one_currency(rows: pa.Table, column: str) -> Iterable[Suspicion]:
    """Yield a guess if every row names the same currency."""
    codes = pc.unique(rows[columns.CURRENCY].combine_chunks())
    if len(rows) > 1 and len(codes) == 1 and codes[0].is_valid:
        code = codes[0].as_py()
        message = f"Every row has the currency {code}. Is {column!r} the currency of the row?"
        yield Suspicion("one_currency", message, f"constants = {toml({'currency': code})}")


def unknown_items(
    events: pa.Table, catalogue: pa.Array, item: Source = columns.ITEM_ID, event: Sequence[Source] = ()
) -> Iterable[Suspicion]:
    """Yield the number of item ids that the catalogue lacks, and an expression for ids in another spelling.

    `item` and `event` are the sources of `item_id` and `event_id` in the mapping.
    """
    ids = pc.unique(events[columns.ITEM_ID].combine_chunks()).drop_null()
    lacking = ids.filter(pc.invert(pc.is_in(ids, value_set=catalogue)))
    if not len(lacking):
        return
    examples = ", ".join(map(repr, lacking[:_MOST_EXAMPLES].to_pylist()))
    write, message = "", f"The catalogue lacks {len(lacking):,} of {len(ids):,} item ids, such as {examples}."
    for how, (expression, fixes) in _SPELLINGS.items():
        ours, theirs = (_spelt(one, expression) for one in (lacking, catalogue))
        alike = pc.sum(pc.is_in(ours, value_set=theirs)).as_py() or 0
        if alike > len(lacking) * _MAYBE:
            message += f" {alike:,} of them are in it without regard to {how}."
            write = _spelling_fix(ids, catalogue, fixes, item=item, event=event)
            break
    yield Suspicion("item_ids_not_in_catalogue", message, write)


def _spelling_fix(
    ids: pa.Array, catalogue: pa.Array, fixes: Sequence[str], *, item: Source, event: Sequence[Source]
) -> str:
    """Return the keys with which most ids are in the catalogue; empty if that is no more than now."""
    known = {fix: _known(_spelt(ids, fix.format("id")), catalogue) for fix in fixes}
    best = max(known, key=lambda fix: known[fix], default=None)
    if best is None or known[best] <= _known(ids, catalogue):
        return ""
    fixed = {"expr": best.format(source_text(item))}
    lines = [f"item_id = {toml(fixed)}"]
    if item in event:
        parts = [fixed if one == item else one if isinstance(one, str) else {"expr": one.text} for one in event]
        lines.append(f"event_id = {toml(parts[0] if len(parts) == 1 else parts)}")
    return "\n".join(lines)


def _known(ids: pa.Array, catalogue: pa.Array) -> int:
    return pc.sum(pc.is_in(ids, value_set=catalogue)).as_py() or 0


_SPELLINGS: Final = {
    "case and space": ("lower(trim(id))", ["trim({})", "upper(trim({}))", "lower(trim({}))"]),
    "a .0 at the end": ("regexp_replace(trim(id), '[.]0$', '')", ["regexp_replace(trim({}), '[.]0$', '')"]),
    "zeros at the beginning": ("ltrim(trim(id), '0')", ["regexp_replace(trim({}), '^0+', '')"]),
}
"""SQL that compares ids in any spelling, and expressions of a mapping that write them as the catalogue may."""


def _spelt(ids: pa.Array, expression: str) -> pa.Array:
    return query(f"SELECT {expression} AS id FROM ids", ids=pa.table({"id": ids}))["id"].combine_chunks()


def addresses_as_ids(ids: ArrowColumn) -> Iterable[Suspicion]:
    """Yield a guess if user ids are e-mail addresses."""
    share = _share(pc.match_substring_regex(pc.drop_null(ids), _EMAIL))
    if share > _MAYBE:
        message = (
            "User ids look like e-mail addresses. They change and are personal: prefer the number of the customer."
        )
        yield Suspicion("user_ids_are_addresses", message)


def addresses_as_traits(rows: pa.Table) -> Iterable[Suspicion]:
    """Yield the traits or attributes that hold e-mail addresses."""
    traits = rows[columns.ATTRIBUTES].combine_chunks()
    for name, values in zip(traits.type.names, traits.flatten(), strict=True):
        if _share(pc.match_substring_regex(pc.drop_null(values), _EMAIL)) > _MAYBE:
            message = (
                f"The attribute {name!r} holds e-mail addresses, which have to stay out. Take it out of `attributes`."
            )
            yield Suspicion("attribute_is_an_address", message)


def negative_quantities(events: pa.Table) -> Iterable[Suspicion]:
    """Yield a guess if quantities or values are negative: a refund has its own type and positive numbers."""
    negative = pc.or_kleene(pc.less(events[columns.QUANTITY], 0), pc.less(events[columns.VALUE], 0))
    rows = pc.sum(negative).as_py() or 0
    if rows:
        yield Suspicion(
            "negative_quantities",
            f"{rows:,} rows have a negative quantity or value: they may be refunds. Give them the type and write "
            "positive numbers.",
            "event_type = { expr = \"if(QUANTITY < 0, 'refund', 'purchase')\" }\n"
            'quantity = { expr = "abs(QUANTITY)" }',
        )


def prices_in_cents(prices: ArrowColumn) -> Iterable[Suspicion]:
    """Yield a guess if all prices are whole numbers with typical endings of cents."""
    stated = pc.filter(prices, pc.greater(pc.fill_null(prices, 0.0), 0.0))
    if pc.count_distinct(stated).as_py() < _MOST_EXAMPLES or not pc.all(pc.equal(stated, pc.floor(stated))).as_py():
        return
    ends = pc.subtract(stated, pc.multiply(pc.floor(pc.divide(stated, _CENTS)), float(_CENTS)))
    usual = pc.is_in(ends, value_set=pa.array([0.0, 49.0, 50.0, 90.0, 95.0, 98.0, 99.0]))
    if _share(usual) > _MAYBE and pc.min(stated).as_py() >= _CENTS / 2 and _share(pc.equal(ends, 0.0)) < 1:
        message = "Prices are whole numbers that mostly end in 00, 50, 90, 95 or 99: they may be cents."
        yield Suspicion("prices_in_cents", message, 'price = { expr = "PRICE / 100" }')


def unit_prices_as_values(events: pa.Table) -> Iterable[Suspicion]:
    """Yield a guess if the value of an item does not grow with the quantity."""
    counts = query(
        """
        WITH items AS (
            SELECT item_id, count(DISTINCT value) AS different_values FROM events
            WHERE quantity > 0 AND value > 0 GROUP BY item_id HAVING count(DISTINCT quantity) > 1
        ) SELECT count(*) AS items, count(*) FILTER (WHERE different_values = 1) AS same FROM items
        """,
        events=events.select([columns.ITEM_ID, columns.QUANTITY, columns.VALUE]),
    ).to_pylist()[0]
    if counts["items"] >= _MOST_EXAMPLES and counts["same"] > counts["items"] * _MAYBE:
        message = "The value of an item is the same for one piece and for several: it may be the price of one piece."
        yield Suspicion("value_is_a_unit_price", message, 'value = { expr = "round(abs(QUANTITY) * PRICE, 2)" }')


def unmapped_types(events: pa.Table) -> Iterable[Suspicion]:
    """Yield event types outside the canonical ones, with a translation for known words."""
    kinds = pc.value_counts(events[columns.EVENT_TYPE].combine_chunks().drop_null()).to_pylist()
    words = {one["values"]: one["counts"] for one in kinds if one["values"] not in columns.EVENT_TYPES}
    if not words:
        return
    most = sorted(words, key=lambda word: -words[word])[:20]
    message = f"{len(words):,} event types are not translated: {with_counts(words, most)}."
    message += " Leave out what is no interaction by `where`."
    write = "\n".join(["[events.event_types]", *translations(most)])
    yield Suspicion("event_types_not_translated", message, write)


def constant_purchase(unused: pa.Table, *, sale: bool) -> Iterable[Suspicion]:
    """Yield a guess if every row is a purchase by a constant, but an unused column may hold event types.

    `sale` states that other columns show that the rows are sales.
    """
    sample = Sample((), unused)
    if column := event_words(sample, ()) or possible_event_words(sample, (), sale=sale):
        words = sorted(column.values)
        message = (
            f"Every row counts as a purchase by `constants`. Does {column.name!r}, which is not used, hold event "
            f"types: {', '.join(map(repr, words[:_MOST_EXAMPLES]))}? If so, write event_type instead of constants."
        )
        write = "\n".join([f"event_type = {toml(column.name)}", "[events.event_types]", *translations(words)])
        yield Suspicion("event_type_may_be_a_column", message, write)


def many_duplicates(events: int, duplicates: int, identified: bool) -> Iterable[Suspicion]:
    """Yield a guess if many rows repeat an event."""
    if events and duplicates > events / 5:
        advice = (
            "`event_id` is not unique: add the column that tells the rows apart."
            if identified
            else ("Without an `event_id`, rows alike in user, item, type, time and session are one event.")
        )
        yield Suspicion("many_duplicates", f"{duplicates:,} of {events:,} rows repeat another. {advice}")


def _share(flags: ArrowColumn) -> float:
    """Return the share of true flags."""
    return float(pc.mean(pc.cast(flags, pa.int8())).as_py() or 0.0) if len(flags) else 0.0


UNDECLARED: Final = "nobody_agreed"
"""The mapping reads no consent, so a declaration may replace it."""
ELSEWHERE: Final = "answers_not_given"
"""The mapping reads consent from a file of users that is not among these files."""
NO_AGREEMENT: Final = "users_did_not_agree"
"""The files hold consent, but no event belongs to a user who agreed."""
REASONS: Final = (NO_AGREEMENT, ELSEWHERE, UNDECLARED)
"""The reasons, the one with the most careful advice first."""
_AS_IF: Final = "Examples and broken rules show rows as they are with consent."


def missing_consent(mapping: SourceMapping, agreed: int, refused: int, own: bool) -> Iterable[Suspicion]:
    """Yield the reason why no event is accepted, from the numbers of users who `agreed` and `refused`.

    `own` states whether events carry consent.
    """
    users, events = (mapping.users, mapping.events) if isinstance(mapping, table_mapping.Mapping) else (None, None)
    in_events = events is not None and events.consent is not None
    write = ""
    if users and users.consent and not (agreed or refused or own):
        name = ", ".join(map(repr, columns_of(listed(users.consent)))) or "of an expression"
        files = users.file if isinstance(users.file, str) else ", ".join(users.file)
        reason = ELSEWHERE
        message = (
            f"Consent is in the column {name} of the customer file ({files}), which is not among these files. Give "
            "that file too; without it, an ingest goes by the answers that are stored."
        )
    elif agreed or refused or own or in_events:
        reason = NO_AGREEMENT
        message = (
            f"No row would be accepted ({mapping.consent}): no event belongs to a user who agreed. The files hold "
            f"{agreed:,} answers of users that agree and {refused:,} that do not, or are empty. Compare the user ids "
            "of both files, and the words that mean yes: `consent_words`."
        )
    else:
        reason = UNDECLARED
        message = (
            f"No row would be accepted: the mapping asks for consent ({mapping.consent}) and reads no answers. Name "
            "the column of consent. If every user agreed, declare how. Without either, only stored answers count."
        )
        write = 'consent = "given"\nconsent_note = "clause 4 of our terms"'
    yield Suspicion(reason, f"{message} {_AS_IF}", write)
