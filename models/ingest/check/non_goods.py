"""Finds items that look like services or notes rather than goods: postage, bank charges, "damaged". Suspects only."""

import json
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from models.ingest.expressions.syntax_tree import LONGEST, Expression
from models.ingest.tabular.config import ItemsMapping
from models.primitives.arrow_sql import literal, query

SERVICES: Final = (
    *("postage", "shipping", "freight", "courier", "surcharges?", "bank charges?", "service charges?", "fees?"),
    *("commission", "gift ?vouchers?", "gift ?cards?", "coupons?", "bad debt", "credit notes?", "donations?"),
    *(
        "versandkosten",
        r"\p{L}*gebühr(?:en)?",
        r"\p{L}*gutscheine?",
        "geschenkkarten?",
        r"\p{L}*pauschalen?",
        "trinkgeld",
    ),
    *("lieferung frei haus", "frais de port", "frais de livraison", "bon cadeau", "bon d.achat", "carte cadeau"),
    *("spese di spedizione", "spedizione", "gastos de env[ií]o", "verzendkosten"),
)
"""Regular expressions of words that name a service wherever they stand in a title."""
NOTES: Final = (
    *("delivery", "carriage", "packaging", "insurance", "vouchers?", "deposit", "warranty", "manual", "discounts?"),
    *("rebate", "refunds?", "samples?", "tests?", "adjust(?:ed|ments?)?", "checks?", "checked", "damages?", "damaged"),
    *("smashed", "broken", "missing", "lost", "found", "wrong(?:ly)?", "unsaleable", "thrown", "write.?off", "unknown"),
    *("versand", "porto", "pfand", "rabatt", "kaution", "anfahrt", "lieferung", "livraison", "remise", "consigne"),
)
"""Regular expressions of words that name a service or a note if a title has hardly any other word."""
MOST: Final = 40
"""So many suspects are shown at most."""
_MOST_IDS: Final = 0.9
"""If fewer ids have digits, an id without any is nothing special."""
_SPREAD: Final = 20
"""Times by which what most people pay at most exceeds what most people pay at least."""
_PAID: Final = 20
"""Purchases from which on prices say something."""
_FEWEST: Final = 3
"""Purchases from which on it says something that none was kept."""
_SERVICE: Final = rf"(?i)(?:^|[^\p{{L}}])({'|'.join(SERVICES)})(?:[^\p{{L}}]|$)"
_NOTE: Final = rf"(?i)^[^\p{{L}}]*(?:\p{{L}}+[^\p{{L}}]+)?({'|'.join(NOTES)})[^\p{{L}}]*$"
_NOTE_FIRST: Final = rf"(?i)^[^\p{{L}}]*({'|'.join(NOTES)})[^\p{{L}}]+\p{{L}}+[^\p{{L}}]*$"
_WORD: Final = ", ".join(
    f"nullif(regexp_extract(title, {literal(pattern)}, 1), '')" for pattern in (_SERVICE, _NOTE, _NOTE_FIRST)
)


def suspects(items: pa.Table) -> list[dict[str, Any]]:
    """Return the items that look like no goods: id, title, purchases and why, the clearest first.

    `by_text` states whether the id or title shows it; otherwise only prices or refunds do.

    `items` has item_id, title and price, `bought` (purchases), `pieces` (those not refunded), and `lowest` and `highest`,
    between which nine tenths of the prices of one piece lie.
    """
    names = f"""
        CASE WHEN NOT regexp_matches(item_id, '[0-9]') AND digits >= {_MOST_IDS} THEN
            format('its id has no digit, but {{:.1f}} % of ids have one', 100 * digits) END,
        CASE WHEN word <> '' THEN 'its title has the word ' || word END,
        CASE WHEN NOT regexp_matches(title, '[\\p{{L}}0-9]') THEN 'its title has no letters' END"""
    figures = f"""
        CASE WHEN price = 0 THEN 'its price is 0' END,
        CASE WHEN bought >= {_PAID} AND highest >= {_SPREAD} * lowest THEN
            format('most people pay from {{:.2f}} to {{:.2f}} for one', lowest, highest) END,
        CASE WHEN bought >= {_FEWEST} AND pieces <= 0 THEN format('none of its {{}} purchases was kept', bought) END"""
    statement = f"""
        WITH read AS (
            SELECT *, coalesce(lower(coalesce({_WORD})), '') AS word,
                avg(regexp_matches(item_id, '[0-9]')::INTEGER) OVER () AS digits
            FROM items
        ), judged AS (
            SELECT *, list_filter([{names}, {figures}], lambda reason: reason IS NOT NULL) AS reasons,
                coalesce({names}) IS NOT NULL AS by_text
            FROM read
        )
        SELECT item_id, title, bought, array_to_string(reasons, '; ') AS why, by_text FROM judged
        WHERE len(reasons) > 0 ORDER BY len(reasons) DESC, bought DESC, item_id
    """
    found: list[dict[str, Any]] = query(statement, items=items).to_pylist()
    return found


def mark_for(ids: Sequence[str], mapping: ItemsMapping) -> str:
    """Return the line of a mapping that marks these items besides what it marks now.

    It names as many of them as one expression can.
    """
    source = f"({mapping.item_id.text})" if isinstance(mapping.item_id, Expression) else _quoted(mapping.item_id)
    named = f"{source} in ("
    for item in ids:
        if len(named) + len(literal(item)) + 3 > LONGEST:
            break
        named += f"{literal(item)}, "
    mark = f"{named.removesuffix(', ')})"
    marked = [{"expr": one.text} if isinstance(one, Expression) else one for one in mapping.not_merchandise]
    if not marked:
        return f"not_merchandise = {_toml(mark)}"
    return f"not_merchandise = [{', '.join(map(_toml, [*marked, {'expr': mark}]))}]"


def _quoted(column: str) -> str:
    return column if column.isidentifier() and column.isascii() else '"' + column.replace('"', '""') + '"'


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ expr = {_toml(value['expr'])} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
