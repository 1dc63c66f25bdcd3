"""Find suspicious items, users and answers: ids with several spellings, odd prices, unknown words. Arrow in."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest.check.suspicions import Suspicion, with_counts
from models.ingest.draft.mapping_text import source_text, toml
from models.ingest.draft.vocabulary import NO, USUAL_YES, YES, stock_answers
from models.ingest.tabular.duplicate_rows import COPIES, UPDATED_AT
from models.ingest.tabular.expressions import Source
from models.ingest.tabular.table_mapping import Mapping
from models.ingest.tabular.values import tidy
from models.primitives.arrow_sql import query
from models.primitives.arrow_types import ArrowColumn

_MOST_EXAMPLES: Final = 3
_LINES: Final = 2
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


def several_rows(
    rows: pa.Table, key: str, number: str, place: Callable[[int], str], choosable: bool
) -> list[Suspicion]:
    """Return a suspicion if rows of one `key` differ, with the places of some and the columns that differ.

    `number` is the column with the row number, and `place` returns the place of a number. Equal rows occur once.
    """
    apart = {key, number, COPIES, UPDATED_AT}
    empty = [name for name in rows.column_names if pa.types.is_struct(kind := rows.field(name).type) and not len(kind)]
    compared = [name for name in rows.column_names if name not in apart and name not in empty]
    differ = ", ".join(f'count(DISTINCT coalesce("{name}"::VARCHAR, \'\')) > 1 AS "{name}"' for name in compared)
    groups = query(
        f'SELECT list("{number}" ORDER BY "{number}") AS places, {differ} FROM rows WHERE "{key}" IS NOT NULL '
        f'GROUP BY "{key}" HAVING count(*) > 1 ORDER BY min("{number}")',
        rows=rows.drop_columns(empty),
    ).to_pylist()
    groups = [one for one in groups if any(one[name] for name in compared)]
    if not groups:
        return []
    others = sorted({name for one in groups for name in compared if one[name]})
    examples = "; ".join(" and ".join(map(place, one["places"][:_LINES])) for one in groups[:_MOST_EXAMPLES])
    subject = "id has rows that differ" if len(groups) == 1 else "ids have rows that differ"
    rule = " `choose` in the mapping sets another rule." if choosable else ""
    message = f"{len(groups):,} {subject} in {', '.join(others)}, such as {examples}. The last row counts.{rule}"
    return [Suspicion("several_rows_of_an_id", message)]


def empty_titles(rows: pa.Table) -> Iterable[Suspicion]:
    """Yield the number of items that have no title and show their id instead."""
    title_by_id = pc.binary_join_element_wise("Item", rows[columns.ITEM_ID], " ")
    empty = rows.filter(pc.fill_null(pc.equal(rows[columns.TITLE], title_by_id), False))
    if len(empty):
        some = ", ".join(map(repr, empty[columns.TITLE][:_MOST_EXAMPLES].to_pylist()))
        message = f"{len(empty):,} of {len(rows):,} items have no title. Lists show them as {some}."
        yield Suspicion("items_without_title", message)


def prices_nobody_paid(catalogue: pa.Table, purchases: pa.Table, mapping: Mapping) -> Iterable[Suspicion]:
    """Yield a guess if many prices of a catalogue are far from the median that customers paid for a piece."""
    compared = query(_PRICES, catalogue=catalogue, purchases=purchases)
    far = compared.filter(compared["far"])
    if len(far) < max(_FEWEST_PRICES, _SHARE_OF_PRICES * len(compared)):
        return
    items, events = mapping.items, mapping.events
    first = far.slice(0, 1).to_pylist()[0]
    message = (
        f"{len(far):,} of {len(compared):,} items have a price that is more than 1.5 times what customers paid for a "
        f"piece in these rows, or less than two thirds of it: {first['item_id']!r} has {first['price']:,.2f}, and "
        f"customers paid {first['paid']:,.2f} in the median. `price` may read other lines than those of customers."
    )
    write = ""
    if items and events and events.where and isinstance(items.price, str) and items.file == events.file:
        write = f"price = {toml({'expr': f'if({events.where.text}, {source_text(items.price)}, null)'})}"
        if isinstance(items.choose, dict) and items.updated_at:
            write += f"\nchoose = {toml({**items.choose, 'price': 'recent'})}"
    yield Suspicion("prices_nobody_paid", message, write)


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
    message = (
        f"{repeated:,} of {known:,} user ids differ from another one only in {how}, and count as other users. "
        "If they are the same users, write their ids alike in each part of the mapping."
    )
    yield Suspicion(
        "user_ids_of_several_spellings", message, f"user_id = {toml(fixed[0] if len(fixed) == 1 else fixed)}"
    )


_MOST_SHOWN: Final = 10
_MOST_WORDS: Final = 20
"""A column with more different words does not answer yes or no."""


def unread_stock(column: str, words: dict[str, int], stated: dict[str, bool]) -> Iterable[Suspicion]:
    """Yield the unknown `words` of a column of stock, with their counts.

    `stated` has the words that the mapping explains already.
    """
    if not words:
        return
    most = _most(words)
    message = (
        f"{sum(words.values()):,} answers of {column!r} (available) cannot be read: {with_counts(words, most)}. "
        "Their items are accepted and count as in stock. State the meaning of each word, true or false:"
    )
    known, unknown = stock_answers(most)
    comment = f"  # to decide, in stock until then: {', '.join(map(toml, unknown))}" if unknown else ""
    yield Suspicion("stock_words_unknown", message, f"available_words = {toml({**stated, **known})}{comment}")


def unread_consent(column: str, cells: ArrowColumn, stated: Iterable[str]) -> Iterable[Suspicion]:
    """Yield the words of a column of consent that count as no and may mean yes."""
    yes = {word.strip().lower() for word in stated}
    counted = pc.value_counts(pc.utf8_lower(tidy(cells)).drop_null()).to_pylist()
    words = {one["values"]: one["counts"] for one in counted if one["values"] not in yes}
    doubtful = {word: count for word, count in words.items() if word not in NO}
    if not doubtful or len(words) > _MOST_WORDS:
        return
    most = _most(doubtful)
    message = (
        f"These words of {column!r} (consent) count as no: {with_counts(doubtful, most)}. If one means yes, write:"
    )
    agreeing = [word for word in most if word in YES] or most[:1]
    explicit = [] if yes == USUAL_YES else sorted(yes)
    yield Suspicion("consent_words_unknown", message, f"consent_words = {toml([*explicit, *agreeing])}")


def _most(words: dict[str, int]) -> list[str]:
    return sorted(words, key=lambda word: (-words[word], word))[:_MOST_SHOWN]
