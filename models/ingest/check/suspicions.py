"""Find rows that a mapping reads without an error but that look wrong, for a person to check. Arrow in."""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest.draft.mapping_text import key, operand, source_text, toml
from models.ingest.draft.roles import event_words, possible_event_words
from models.ingest.draft.samples import EMAIL, Sample
from models.ingest.draft.vocabulary import NO, USUAL_YES, YES, event_type_of, stock_answers
from models.ingest.source_config import SourceMapping
from models.ingest.tabular import table_mapping
from models.ingest.tabular.duplicate_rows import COPIES, FIRST_ROW, UPDATED_AT
from models.ingest.tabular.mapping_keys import Source, columns_of, listed
from models.ingest.tabular.unreadable_cells import UnreadableCells
from models.ingest.tabular.values import instants, tidy
from models.primitives.arrow_sql import query
from models.primitives.arrow_types import ArrowColumn

_TEXTS: Final = tomllib.loads(Path(__file__).with_name("suspicions.toml").read_text("utf-8"))
_MOST_EXAMPLES: Final = 5
_MOST_WORDS: Final = 20
"""A column with more different words does not answer yes or no."""
_MOST_SHOWN: Final = 10
_LAST_MONTH: Final = 12
_LEAST_DATES: Final = 13
"""Among this many different dates of real data almost always one has a day above 12."""
_CENTS: Final = 100
_MAYBE: Final = 0.5
"""A share of values above this is no coincidence."""
_FEW_EXAMPLES, _LINES = 3, 2
_SOME: Final = 0.001
"""Users whose ids differ from another id only in their spelling: a smaller share may be a coincidence."""
_FEWEST_PRICES, _SHARE_OF_PRICES = 5, 0.2
"""The number and the share of items with an odd price from which the mapping is suspicious: sales end."""
_PRICES: Final = """
    WITH bought AS (
        SELECT item_id, median(value / coalesce(quantity, 1)) AS paid FROM purchases
        WHERE event_type = 'purchase' AND value > 0 AND coalesce(quantity, 1) > 0 GROUP BY 1
    )
    SELECT item_id, price, paid, greatest(price / paid, paid / price) > 1.5 AS far
    FROM catalogue JOIN bought USING (item_id) WHERE price > 0 ORDER BY item_id
"""


@dataclass(frozen=True)
class Suspicion:
    """A guess about a part of a mapping."""

    id: str
    says: str
    write: str = ""
    """The lines of the mapping if the guess is right."""

    @classmethod
    def of(cls, name: str, write: str = "", /, **values: object) -> "Suspicion":
        """Return the suspicion with the text of this name in `suspicions.toml`, which holds the values."""
        return cls(name.partition(".")[0], " ".join(_TEXTS[name].split()).format(**values), write)


def _with_counts(words: Mapping[str, int], shown: Iterable[str]) -> str:
    """Return the words to show with their numbers, for a sentence."""
    return ", ".join(f"{word!r} ({words[word]:,})" for word in shown)


def _translations(words: Iterable[str]) -> list[str]:
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
        yield Suspicion.of("day_and_month_swapped.probably", write, reads=reads, swapped=reads_swapped)
    elif reads == reads_swapped and reads:
        dates = pc.count_distinct(pc.floor_temporal(moments, unit="day"), mode="only_valid").as_py()
        if dates >= _LEAST_DATES and pc.max(pc.day(moments)).as_py() <= _LAST_MONTH:
            yield Suspicion.of("day_and_month_swapped.maybe", write, dates=dates)


def ambiguous_times(cells: pa.ChunkedArray, formats: Sequence[str]) -> Iterable[Suspicion]:
    """Yield the number of cells that two formats of a list read as different times."""
    texts = pc.cast(cells, pa.string())
    for first, second in combinations(formats, 2):
        one, other = (instants(texts, [form], "UTC") for form in (first, second))
        apart = texts.filter(pc.fill_null(pc.not_equal(one, other), False))
        if len(apart):
            example = apart[0].as_py()
            yield Suspicion.of("ambiguous_times", first=first, second=second, count=len(apart), example=example)


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
        yield Suspicion.of("one_currency", f"constants = {toml({'currency': code})}", code=code, column=column)


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
    write, alike = "", ""
    for how, (expression, fixes) in _SPELLINGS.items():
        ours, theirs = (_spelt(one, expression) for one in (lacking, catalogue))
        if (count := _known(ours, theirs)) > len(lacking) * _MAYBE:
            alike = f" {count:,} of them are in it without regard to {how}."
            write = _spelling_fix(ids, catalogue, fixes, item=item, event=event)
            break
    counts = {"lacking": len(lacking), "ids": len(ids)}
    yield Suspicion.of("item_ids_not_in_catalogue", write, examples=_some(lacking), alike=alike, **counts)


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
    if _share(pc.match_substring_regex(pc.drop_null(ids), EMAIL)) > _MAYBE:
        yield Suspicion.of("user_ids_are_addresses")


def addresses_as_traits(rows: pa.Table) -> Iterable[Suspicion]:
    """Yield the traits or attributes that hold e-mail addresses."""
    traits = rows[columns.ATTRIBUTES].combine_chunks()
    for name, values in zip(traits.type.names, traits.flatten(), strict=True):
        if _share(pc.match_substring_regex(pc.drop_null(values), EMAIL)) > _MAYBE:
            yield Suspicion.of("attribute_is_an_address", name=name)


def negative_quantities(events: pa.Table, part: table_mapping.EventsMapping) -> Iterable[Suspicion]:
    """Yield a guess if the quantity is negative, or a value from one column: it may state refunds by its sign."""
    read = {columns.QUANTITY: part.quantity, columns.VALUE: part.value}
    signed = [(name, one) for name, one in read.items() if one and pc.any(pc.less(events[name], 0)).as_py()]
    if signed and len(columns_of([signed[0][1]])) == 1:
        kind = {"expr": f"if({operand(signed[0][1])} < 0, 'refund', 'purchase')"}
        positive = [f"{name} = {toml({'expr': f'abs({source_text(one)})'})}" for name, one in signed]
        rows = pc.sum(pc.less(events[signed[0][0]], 0)).as_py()
        yield Suspicion.of("negative_quantities", "\n".join([f"event_type = {toml(kind)}", *positive]), rows=rows)


def prices_in_cents(prices: ArrowColumn) -> Iterable[Suspicion]:
    """Yield a guess if all prices are whole numbers with typical endings of cents."""
    stated = pc.filter(prices, pc.greater(pc.fill_null(prices, 0.0), 0.0))
    if pc.count_distinct(stated).as_py() < _MOST_EXAMPLES or not pc.all(pc.equal(stated, pc.floor(stated))).as_py():
        return
    ends = pc.subtract(stated, pc.multiply(pc.floor(pc.divide(stated, _CENTS)), float(_CENTS)))
    usual = pc.is_in(ends, value_set=pa.array([0.0, 49.0, 50.0, 90.0, 95.0, 98.0, 99.0]))
    if _share(usual) > _MAYBE and pc.min(stated).as_py() >= _CENTS / 2 and _share(pc.equal(ends, 0.0)) < 1:
        yield Suspicion.of("prices_in_cents", 'price = { expr = "PRICE / 100" }')


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
        yield Suspicion.of("value_is_a_unit_price", 'value = { expr = "round(abs(QUANTITY) * PRICE, 2)" }')


def unmapped_types(events: pa.Table) -> Iterable[Suspicion]:
    """Yield event types outside the canonical ones, with a translation for known words."""
    kinds = pc.value_counts(events[columns.EVENT_TYPE].combine_chunks().drop_null()).to_pylist()
    words = Counter({one["values"]: one["counts"] for one in kinds if one["values"] not in columns.EVENT_TYPES})
    yield from untranslated("event_types_not_translated.words", words, "events.event_types")


def untranslated(name: str, words: Counter[str], table: str) -> Iterable[Suspicion]:
    """Yield the words that are no event types, with the lines of a table of the mapping that translate them."""
    most = [word for word, _ in words.most_common(_MOST_WORDS)]
    if most:
        write = "\n".join([f"[{table}]", *_translations(most)])
        yield Suspicion.of(name, write, count=len(words), words=_with_counts(words, most))


def constant_purchase(unused: pa.Table, *, sale: bool) -> Iterable[Suspicion]:
    """Yield a guess if every row is a purchase by a constant, but an unused column may hold event types.

    `sale` states that other columns show that the rows are sales.
    """
    sample = Sample((), unused)
    if column := event_words(sample, ()) or possible_event_words(sample, (), sale=sale):
        words = sorted(column.values)
        write = "\n".join([f"event_type = {toml(column.name)}", "[events.event_types]", *_translations(words)])
        yield Suspicion.of("event_type_may_be_a_column", write, column=column.name, words=_some(words))


def many_duplicates(events: int, duplicates: int, identified: bool) -> Iterable[Suspicion]:
    """Yield a guess if many rows repeat an event."""
    if events and duplicates > events / 5:
        name = "many_duplicates.by_id" if identified else "many_duplicates.by_values"
        yield Suspicion.of(name, duplicates=duplicates, events=events)


def _some(texts: list[str] | ArrowColumn, most: int = _MOST_EXAMPLES) -> str:
    """Return the first of some texts, for a sentence."""
    some = texts[:most]
    return ", ".join(map(repr, some if isinstance(some, list) else some.to_pylist()))


def _share(flags: ArrowColumn) -> float:
    """Return the share of true flags."""
    return float(pc.mean(pc.cast(flags, pa.int8())).as_py() or 0.0) if len(flags) else 0.0


def several_rows(
    rows: pa.Table, key: str, number: str, place: Callable[[int], str], choosable: bool
) -> Iterable[Suspicion]:
    """Yield a suspicion if rows of one `key` differ, with the places of some and the columns that differ.

    `number` is the column with the row number, and `place` returns the place of a number. Equal rows occur once.
    """
    apart = {key, number, FIRST_ROW, COPIES, UPDATED_AT}
    empty = [name for name in rows.column_names if pa.types.is_struct(kind := rows.field(name).type) and not len(kind)]
    compared = [name for name in rows.column_names if name not in apart and name not in empty]
    differ = ", ".join(f'count(DISTINCT coalesce("{name}"::VARCHAR, \'\')) > 1 AS "{name}"' for name in compared)
    groups = query(
        f'SELECT list("{number}" ORDER BY "{number}") AS places, {differ} FROM rows WHERE "{key}" IS NOT NULL '
        f'GROUP BY "{key}" HAVING count(*) > 1 ORDER BY min("{number}")',
        rows=rows.drop_columns(empty),
    ).to_pylist()
    groups = [one for one in groups if any(one[name] for name in compared)]
    if groups:
        yield Suspicion.of(
            "several_rows_of_an_id",
            count=len(groups),
            subject="id has rows that differ" if len(groups) == 1 else "ids have rows that differ",
            columns=", ".join(sorted({name for one in groups for name in compared if one[name]})),
            examples="; ".join(" and ".join(map(place, one["places"][:_LINES])) for one in groups[:_FEW_EXAMPLES]),
            rule=" `choose` in the mapping sets another rule." if choosable else "",
        )


def empty_titles(rows: pa.Table) -> Iterable[Suspicion]:
    """Yield the number of items that have no title and show their id instead."""
    title_by_id = pc.binary_join_element_wise("Item", rows[columns.ITEM_ID], " ")
    empty = rows.filter(pc.fill_null(pc.equal(rows[columns.TITLE], title_by_id), False))
    if len(empty):
        examples = _some(empty[columns.TITLE], _FEW_EXAMPLES)
        yield Suspicion.of("items_without_title", empty=len(empty), items=len(rows), examples=examples)


def prices_nobody_paid(catalogue: pa.Table, purchases: pa.Table, mapping: table_mapping.Mapping) -> Iterable[Suspicion]:
    """Yield a guess if many prices of a catalogue are far from the median that customers paid for a piece."""
    compared = query(_PRICES, catalogue=catalogue, purchases=purchases)
    far = compared.filter(compared["far"])
    if len(far) < max(_FEWEST_PRICES, _SHARE_OF_PRICES * len(compared)):
        return
    items, events, first = mapping.items, mapping.events, far.slice(0, 1).to_pylist()[0]
    write = ""
    if items and events and events.where and isinstance(items.price, str) and items.file == events.file:
        write = f"price = {toml({'expr': f'if({events.where.text}, {source_text(items.price)}, null)'})}"
        if isinstance(items.choose, dict) and items.updated_at:
            write += f"\nchoose = {toml({**items.choose, 'price': 'recent'})}"
    example = {"item": first["item_id"], "price": first["price"], "paid": first["paid"]}
    yield Suspicion.of("prices_nobody_paid", write, far=len(far), items=len(compared), **example)


def user_ids_of_several_spellings(ids: ArrowColumn, user: Sequence[Source]) -> Iterable[Suspicion]:
    """Yield a guess if user ids differ from others only in spaces around them or in case; `user` has their columns."""
    different = pc.unique(pc.drop_null(ids))
    trimmed = pc.utf8_trim_whitespace(different)
    known = len(different)
    repeated = known - len(pc.unique(pc.utf8_lower(trimmed)))
    if repeated <= _SOME * known:
        return
    by_spaces = known - len(pc.unique(trimmed)) == repeated
    how, spelling = ("spaces around them", "trim({})") if by_spaces else ("case or spaces", "lower(trim({}))")
    fixed = [{"expr": spelling.format(source_text(one))} for one in user]
    write = f"user_id = {toml(fixed[0] if len(fixed) == 1 else fixed)}"
    yield Suspicion.of("user_ids_of_several_spellings", write, repeated=repeated, ids=known, how=how)


def unread_stock(column: str, words: Mapping[str, int], stated: dict[str, bool]) -> Iterable[Suspicion]:
    """Yield the unknown `words` of a column of stock, with their counts.

    `stated` has the words that the mapping explains already.
    """
    if not words:
        return
    most = _most(words)
    known, unknown = stock_answers(most)
    comment = f"  # to decide, in stock until then: {', '.join(map(toml, unknown))}" if unknown else ""
    write = f"available_words = {toml({**stated, **known})}{comment}"
    counts = _with_counts(words, most)
    yield Suspicion.of("stock_words_unknown", write, answers=sum(words.values()), column=column, words=counts)


def unread_consent(column: str, cells: ArrowColumn, stated: Iterable[str]) -> Iterable[Suspicion]:
    """Yield the words of a column of consent that count as no and may mean yes."""
    yes = {word.strip().lower() for word in stated}
    counted = pc.value_counts(pc.utf8_lower(tidy(cells)).drop_null()).to_pylist()
    words = {one["values"]: one["counts"] for one in counted if one["values"] not in yes}
    doubtful = {word: count for word, count in words.items() if word not in NO}
    if not doubtful or len(words) > _MOST_WORDS:
        return
    most = _most(doubtful)
    agreeing = [word for word in most if word in YES] or most[:1]
    write = f"consent_words = {toml([*([] if yes == USUAL_YES else sorted(yes)), *agreeing])}"
    yield Suspicion.of("consent_words_unknown", write, column=column, words=_with_counts(doubtful, most))


def _most(words: Mapping[str, int]) -> list[str]:
    return sorted(words, key=lambda word: (-words[word], word))[:_MOST_SHOWN]


UNDECLARED: Final = "nobody_agreed"
"""The mapping reads no consent, so a declaration may replace it."""
ELSEWHERE: Final = "answers_not_given"
"""The mapping reads consent from a file of users that is not among these files."""
NO_AGREEMENT: Final = "users_did_not_agree"
"""The files hold consent, but no event belongs to a user who agreed."""
REASONS: Final = (NO_AGREEMENT, ELSEWHERE, UNDECLARED)
"""The reasons, the one with the most careful advice first."""


def missing_consent(mapping: SourceMapping, agreed: int, refused: int, own: bool) -> Iterable[Suspicion]:
    """Yield the reason why no event is accepted, from the numbers of users who `agreed` and `refused`.

    `own` states whether events carry consent.
    """
    users, events = (mapping.users, mapping.events) if isinstance(mapping, table_mapping.Mapping) else (None, None)
    in_events = events is not None and events.consent is not None
    if users and users.consent and not (agreed or refused or own):
        column = ", ".join(map(repr, columns_of(listed(users.consent)))) or "of an expression"
        files = users.file if isinstance(users.file, str) else ", ".join(users.file)
        yield Suspicion.of(ELSEWHERE, column=column, files=files)
    elif agreed or refused or own or in_events:
        yield Suspicion.of(NO_AGREEMENT, consent=mapping.consent, agreed=agreed, refused=refused)
    else:
        declared = 'consent = "given"\nconsent_note = "clause 4 of our terms"'
        yield Suspicion.of(UNDECLARED, declared, consent=mapping.consent)
