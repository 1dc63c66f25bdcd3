"""Guess the parts of a mapping that read items and users."""

import re
from typing import Final

from models.ingest.draft.mapping_text import column as sql
from models.ingest.draft.parts import Part, add_currency, amounts_by_cells, open_part
from models.ingest.draft.roles import Choice, dependency_share, times_of
from models.ingest.draft.samples import SEVERAL, UNIQUE, Column, Sample
from models.ingest.draft.vocabulary import (
    GUESTS,
    NO,
    TRAITS,
    USUAL_YES,
    YES,
    is_personal,
    plain,
    rank,
    stock_answers,
    stock_meaning,
)
from models.ingest.tabular.numbers import EMPTY_CELLS
from models.ingest.tabular.transform import STOCK_WORDS, stock_word
from models.primitives.arrow_sql import literal

_MOST_ATTRIBUTES: Final = 8
_MOST_LEVELS: Final = 3
_MOST_STOCK_WORDS: Final = 20
_MOST_GROUPS: Final = 50
_MOST_GROUPS_BY_NAME: Final = 500
_FEW_GROUPS: Final = 12
_FEW: Final = 0.02
_OWN_WORD: Final = 0.9
"""A column with a different word in almost every row groups nothing."""
_WORDS: Final = r"\p{L}{2}[^/:]* .*\p{L}|[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]{2}"
_UNNAMED_PRICE: Final = "uncertain: the only column with decimals"
_PATHS: Final = (" > ", ">", " / ", "::", "»", "/")
_MOSTLY: Final = 0.5
_OTHER_MEANINGS: Final = frozenset(["active", "inactive", "none", "brak", "on sale", "var", "yok", "slut"])
"""Words of stock that columns of other data also have."""
_NUMBER: Final = r"-?\d+([.,]\d+)?"
_NO_PIECES: Final = r"-?0*([.,]0+)?|-\d.*"
_OF_VARIANTS: Final = {
    **dict.fromkeys(("title", "category", "brand"), "first"),
    "price": "lowest",
    **dict.fromkeys(("url", "image"), "first"),
    "available": "any",
}
"""The value that counts of the rows of an item's variants, by key; of attributes all count."""


def items_part(sample: Sample, item: Choice, buyer: Column | None = None) -> Part:
    """Return the part for a table of items; with a `buyer`, its rows are events that repeat the items."""
    part, own_table = open_part("items", sample), buyer is None
    item, variant = _with_variants(part, item) if own_table else (item, "")
    taken = {item.column, variant}
    prices = sample.likely("price", taken)
    guess = amounts_by_cells(sample, taken, None).get("price") if own_table and not prices else None
    prices += [guess] if guess else []
    prices.sort(key=lambda one: one.filled < 1 - SEVERAL)  # a special price that few items have comes last
    form = part.numbers([prices[0].name] if prices else [])
    if sample.columns[item.column].filled < 1:
        part.add("where", f"{sql(item.column)} is not null")
        part.comments.append(f"Rows without an item ({item.column}) are left out.")
    part.column("item_id", item)
    titles = sample.likely("title", taken)
    if not titles and own_table and (varied := _varied(sample, taken)):
        part.column("title", Choice(varied.name), "uncertain: texts that differ in almost all rows")
    elif not titles:
        named = sample.likely("category", taken)
        fallback = max(named, key=lambda one: len(one.values), default=sample.columns[item.column])
        part.column("title", Choice(fallback.name), "uncertain: no column looks like a title")
    part.first("title", titles)
    _categories(part, taken)
    part.first("brand", sample.likely("brand", part.used))
    if prices and buyer and (customers := _customers(buyer)):
        part.used.add(prices[0].name)
        paid = {"expr": f"if({customers}, {sql(prices[0].name)}, null)"}
        part.add("price", paid, "the price of one piece, of customers")
    else:
        part.first("price", prices, _UNNAMED_PRICE if guess else "the price of one piece" if not own_table else "")
    if prices:
        add_currency(part, prices[0], form.currency_signs)
    if own_table:
        for role in ("url", "image"):
            part.first(role, sample.likely(role))
        _stock(part)
        _attributes(part)
        if variant:
            _add_variants(part, variant)
    elif len(sample.columns[item.column].values) < len(sample.rows):
        _choose(part, bool(prices))
    return part


def users_part(sample: Sample, user: Choice, *, own_table: bool = True) -> Part | None:
    """Return the part for a table of users, with the traits that are no personal data; None without any to read."""
    part = open_part("users", sample)
    if sample.columns[user.column].filled < 1:
        part.add("where", f"{sql(user.column)} is not null")
    part.column("user_id", user)
    traits = [one for one in sample.columns.values() if _is_trait(one, own_table)]
    if not own_table and not traits:
        return None
    part.used.update(one.name for one in traits)
    part.add("attributes", [one.name for one in traits[:_MOST_ATTRIBUTES]], "the traits that are kept; no others enter")
    if own_table:
        _consent(part)
    return part


def _customers(buyer: Column) -> str:
    """Return the condition under which a row has a customer; empty if all rows have one."""
    guests = ", ".join(literal(word) for word in sorted(buyer.values.intersection(GUESTS)))
    stated = [f"{sql(buyer.name)} is not null"] if buyer.filled < 1 else []
    return " and ".join([*stated, *([f"not {sql(buyer.name)} in ({guests})"] if guests else [])])


def _varied(sample: Sample, taken: set[str]) -> Column | None:
    """Return the first column of texts in words that differ from row to row, as titles do."""
    texts = [one for one in sample.free(taken) if not (one.is_number or one.is_time or one.is_email)]
    texts = [one for one in texts if one.distinct > SEVERAL]
    texts = [one for one in texts if one.filled > 1 - SEVERAL and one.share(_WORDS) > 1 - SEVERAL]
    return next((one for one in texts if one.share("^https?://") < SEVERAL), None)


def _with_variants(part: Part, item: Choice) -> tuple[Choice, str]:
    """Return the item, and the column of its variants if each has a row.

    An item has one title on all its rows, or on its first one. If each row has one, the ids of the events decide.
    """
    own, titles = part.sample.columns[item.column], part.sample.likely("title", {item.column})
    ids = [own, *(one for one in part.sample.likely("item") if one is not own and not one.share(r"\s"))]
    variants = [one for one in ids if one.distinct > UNIQUE and one.filled > UNIQUE]
    if not variants or not titles:
        return item, ""
    title, variant = titles[0], variants[0].name
    for one in ids:
        if one.filled > UNIQUE and (dependency_share(one.texts, title.texts) or 0) > UNIQUE:
            if one is own or len(title.stated) <= len(one.values) * (1 + _FEW):
                return (item if one is own else Choice(one.name)), variant
            hint = f'item_id = "{one.name}" and variant_ids = ["{variant}"]'
            part.comments.append(f"Rows of one {one.name} share a title. If they are its sizes, write {hint}.")
            break
    return item, ""


def _add_variants(part: Part, variant: str) -> None:
    part.used.add(variant)
    part.add("variant_ids", [variant], "an event on one counts for its item")
    stated = {line.key: line.value for line in part.lines if not line.commented}
    rules = {key: rule for key, rule in _OF_VARIANTS.items() if key in stated}
    part.add("choose", rules | dict.fromkeys(stated.get("attributes", []), "all"))


def _categories(part: Part, taken: set[str]) -> None:
    """Add one column with a path, or several as levels, the ones with the fewest values first.

    A category that stands in for the title is a category as well.
    """
    columns = part.sample.likely("category", taken)
    columns = columns or [one for one in part.sample.free(part.used) if one.share(re.escape(_PATHS[0])) > SEVERAL]
    columns = [one for one in columns if len(one.values) > 1 and one.filled > SEVERAL / 3]
    if not columns:
        return
    paths = [(one, sign) for one in columns for sign in _PATHS if one.share(re.escape(sign)) > SEVERAL]
    lists = [(one, sign) for one in columns for sign in ("|", ", ", ";") if one.share(re.escape(sign)) > SEVERAL]
    if not paths and lists and _nested(*lists[0]):
        paths, lists = lists, []
    if paths or lists:
        one = (paths or lists)[0][0]
        part.used.add(one.name)
        part.add("category", [one.name])
        if paths:
            part.add("category_separator", paths[0][1])
        if signs := [sign for other, sign in lists if other is one]:
            part.add("category_alternatives", signs[0], "several categories in a cell: the first one counts")
        return
    levels = sorted(columns[:_MOST_LEVELS], key=lambda one: len(one.values))
    part.used.update(one.name for one in levels)
    note = "uncertain: the order of the levels, the most general first" if len(levels) > 1 else ""
    part.add("category", [one.name for one in levels], note)


def _nested(one: Column, sign: str) -> bool:
    """Return whether lists are paths: each second word has one first word, and several of them share it."""
    pairs = {tuple(cell.split(sign)[:2]) for cell in one.values if sign in cell}
    firsts, seconds = ({pair[place] for pair in pairs} for place in (0, 1))
    return len(firsts) < len(seconds) >= (1 - _FEW) * len(pairs) and firsts.isdisjoint(seconds)


def _stock(part: Part) -> None:
    """Add the column of stock with the meaning of its words; uncertain lines are commented out."""
    free = part.sample.free(part.used)
    groups = [one for one in free if 1 < len(one.values) <= _MOST_STOCK_WORDS and not one.is_number]
    by_name = part.sample.likely("available", part.used)
    stock = [one for one in by_name if is_stock(one)]
    if not stock:
        by_words = [one for one in groups if has_stock_words(one)]
        for one in [*by_words, *(one for one in by_name if one in groups)][:1]:
            words, unknown = stock_words(one)
            part.suggest("available", one.name, f"uncertain: {one.name} may state the stock")
            part.suggest("available_words", words | dict.fromkeys(unknown, True), "true is in stock")
        return
    out = share_out(stock[0])
    if out > 1 - SEVERAL:
        part.comments.append(f"{stock[0].name} has {out:.0%} out of stock. If it is up to date, name it as available.")
        return
    part.first("available", stock)
    known, unknown = stock_words(stock[0])
    if known:
        part.add("available_words", known)
    if unknown:
        note = "other words count as in stock; state the meaning of each, true or false"
        part.suggest("available_words", known | dict.fromkeys(unknown[:_MOST_STOCK_WORDS], True), note)


def _attributes(part: Part) -> None:
    free = [one for one in part.sample.free(part.used) if not one.is_time]
    groups = [one for one in free if _is_group(one) and not is_personal(one.name) and one.filled > SEVERAL]
    names = [one.name for one in groups if not one.is_number][:_MOST_ATTRIBUTES]
    if names:
        part.used.update(names)
        part.add("attributes", names)


def _choose(part: Part, priced: bool) -> None:
    """Add the rule for several rows of an item."""
    times = times_of(part.sample)
    part.add("choose", {"title": "most_frequent"} | ({"price": "recent"} if priced and times else {}))
    if times:
        part.column("updated_at", Choice(times[0].name))
        part.time_format(times[0].name)


def _consent(part: Part) -> None:
    for one in part.sample.named("consent"):
        words = {value.lower() for value in one.values}
        if words <= YES | NO and words & YES:
            part.column("consent", Choice(one.name))
            if not words & YES <= USUAL_YES:
                part.add("consent_words", sorted(words & YES))
            for times in part.sample.likely("consent_at")[:1]:
                part.column("consent_at", Choice(times.name))
                part.time_format(times.name)
            return
    for one in part.sample.named("marketing"):
        part.comments.append(
            f"{one.name} is consent to mail. If it covers recommendations, too, write: consent = {one.name!r}"
        )


def _is_group(one: Column, most: int = _MOST_GROUPS) -> bool:
    return 1 < len(one.values) <= most and one.distinct < _OWN_WORD and one.filled > 0 and not one.is_email


def _is_trait(one: Column, own_table: bool) -> bool:
    """Return whether a column groups users: by its name, or in a table of users by having few words."""
    by_name = bool(TRAITS.search(plain(one.name)))
    if (
        not _is_group(one, _MOST_GROUPS_BY_NAME if by_name else _MOST_GROUPS)
        or is_personal(one.name)
        or any(rank(one.name, role) is not None for role in ("consent", "marketing", "consent_at"))
    ):
        return False
    if by_name:
        return own_table or not (one.is_number or rank(one.name, "status") is not None)
    return own_table and len(one.values) <= _FEW_GROUPS and not one.is_number and not one.is_time


def stock_words(one: Column) -> tuple[dict[str, bool], list[str]]:
    """Return the words that `available_words` has to explain, and the words with an unknown meaning."""
    known, unknown = stock_answers(sorted(_words(one)))
    return {word: yes for word, yes in known.items() if word not in STOCK_WORDS}, unknown


def is_stock(one: Column) -> bool:
    """Return whether most cells of a column with a name of stock state what is in stock."""
    cells = one.stated.to_pylist()
    known = sum(re.fullmatch(_NUMBER, cell) is not None or stock_meaning(_word(cell)) is not None for cell in cells)
    return one.is_number or known > _MOSTLY * len(cells)


def has_stock_words(one: Column) -> bool:
    """Return whether the words alone show stock: all are known, one is out of stock, and one is no plain answer."""
    words = _words(one)
    meanings = {stock_meaning(word) for word in words}
    return meanings == {True, False} and bool(words - YES - NO - _OTHER_MEANINGS)


def share_out(one: Column) -> float:
    """Return the share of cells that are out of stock, by a word or by a number of pieces."""
    cells = one.stated.to_pylist()
    out = sum(stock_meaning(_word(cell)) is False or re.fullmatch(_NO_PIECES, cell) is not None for cell in cells)
    return out / max(1, len(cells))


def _words(one: Column) -> set[str]:
    return {_word(value) for value in one.values if value not in EMPTY_CELLS and not re.fullmatch(_NUMBER, value)}


def _word(value: str) -> str:
    return stock_word(re.sub(r"^https?://schema\.org/", "", value.lower()))
