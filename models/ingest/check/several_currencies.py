"""Find amounts in several currencies in one source, with their shares and the expression that converts them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from models import columns
from models.ingest.check.suspicions import Suspicion
from models.ingest.currencies import NAMES
from models.ingest.draft.mapping_text import operand, toml
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.mapping_keys import columns_of
from models.ingest.tabular.table_mapping import Mapping
from models.primitives.arrow_sql import literal, query

SEVERAL: Final = "SELECT count(DISTINCT currency) > 1 AS several FROM {events}"
"""SQL that checks for several currencies: it reads one column and sorts no prices."""
GROUPED: Final = """
    SELECT item_id, currency, count(*) AS amounts, median(value / coalesce(quantity, 1)) AS price FROM {events}
    WHERE event_type IN ('purchase', 'refund') AND value > 0 AND coalesce(quantity, 1) > 0 AND currency IS NOT NULL
    GROUP BY 1, 2
"""
"""SQL for the amounts and the median price of a piece by item and currency."""
_COUNTED: Final = """
    WITH counted AS (SELECT currency, sum(amounts)::BIGINT AS amounts FROM prices GROUP BY 1),
    main AS (SELECT currency FROM counted ORDER BY amounts DESC, currency LIMIT 1),
    rates AS (
        SELECT other.currency, count(*) AS items, median(usual.price / other.price) AS rate
        FROM (prices SEMI JOIN main USING (currency)) AS usual JOIN prices AS other USING (item_id)
        GROUP BY 1
    )
    SELECT currency, amounts, CASE WHEN items >= {fewest} THEN rate END AS rate
    FROM counted LEFT JOIN rates USING (currency) ORDER BY amounts DESC, currency
"""
_READ: Final = (columns.ITEM_ID, columns.CURRENCY, columns.EVENT_TYPE, columns.VALUE, columns.QUANTITY)
_FEWEST_ITEMS: Final = 3
"""The number of items sold in both currencies from which their prices suggest a rate."""
_MOST: Final = 5
"""The largest number of currencies that a sentence names and an expression converts."""


@dataclass(frozen=True)
class Currencies:
    """The currencies of amounts, the most frequent one first, with a rate to it if prices suggest one."""

    amounts: dict[str, int]
    rates: dict[str, float]

    def __str__(self) -> str:
        """Return a sentence with the shares of the currencies, and the consequence."""
        total = sum(self.amounts.values())
        shares = [f"{code} ({count / total:.1%})" for code, count in list(self.amounts.items())[:_MOST]]
        more = f" and {len(self.amounts) - _MOST} more" if len(self.amounts) > _MOST else ""
        return (
            f"Amounts are in several currencies: {', '.join(shares)}{more}. They are added as they are, so the money "
            "of users and the prices of items are wrong."
        )

    def advice(self, write: str) -> str:
        """Return the advice before the lines to `write`, or the advice if there are none."""
        if not write:
            return (
                "The mapping reads no currency from a column of the file. Undo the batches that came in with another "
                "currency (tailorbird ledger) and ingest them again, or convert the amounts before an ingest."
            )
        guessed = "The rates are guesses from the prices of the same items: correct them. " if self.rates else ""
        unknown = [f"{code}_RATE" for code in self._others if code not in self.rates]
        fill = f"Write numbers in the place of {', '.join(unknown)}. " if unknown else ""
        return f"{guessed}{fill}Convert them to {next(iter(self.amounts))} under [events] of the mapping:"

    @property
    def _others(self) -> list[str]:
        return list(self.amounts)[1:_MOST]

    def conversion(self, mapping: SourceMapping) -> str:
        """Return the lines that replace `value` and `currency`; empty if no column states the currency."""
        part = mapping.events if isinstance(mapping, Mapping) else None
        if part is None or part.value is None or part.currency is None or not columns_of([part.currency]):
            return ""
        factor, stated = "1", f"upper(trim({operand(part.currency)}))"
        for code in reversed(self._others):
            words = [code, *(name for name, of in NAMES.items() if of == code)]
            words += [word.upper() for word, of in mapping.spelling.currency.items() if of == code]
            rate = f"{self.rates[code]:.6g}" if code in self.rates else f"{code}_RATE"
            factor = f"if({stated} in ({', '.join(map(literal, dict.fromkeys(words)))}), {rate}, {factor})"
        value = toml({"expr": f"round({operand(part.value)} * {factor}, 2)"})
        main = toml({"expr": literal(next(iter(self.amounts)))})
        return f"value = {value}\ncurrency = {main}"


def several_currencies(prices: pa.Table) -> Currencies | None:
    """Return the currencies of the amounts in a table of `GROUPED`; None if there is at most one."""
    rows = query(_COUNTED.format(fewest=_FEWEST_ITEMS), prices=prices).to_pylist()
    if len(rows) <= 1:
        return None
    amounts = {row["currency"]: row["amounts"] for row in rows}
    return Currencies(amounts, {row["currency"]: row["rate"] for row in rows[1:] if row["rate"]})


def amounts_of(events: pa.Table) -> pa.Table:
    """Return the amounts of events by item and currency, for `several_currencies`."""
    return query(GROUPED.format(events="events"), events=events.select(list(_READ)))


def suspicions(prices: pa.Table, mapping: SourceMapping) -> Iterable[Suspicion]:
    """Yield a suspicion if amounts are in several currencies, with the lines that convert them."""
    if currencies := several_currencies(prices):
        write = currencies.conversion(mapping)
        yield Suspicion("several_currencies", f"{currencies} {currencies.advice(write)}", write)
