"""Estimates the share of rows that an ingest would quarantine, and names the most effective fix."""

from collections.abc import Sequence
from typing import Final

from expectations.limits import QUARANTINED_SHARE
from tasks.ingest.check.findings import BrokenRule, TableFindings

_MUCH: Final = 0.01
_ON_PURPOSE: Final = ("robot", "internal_traffic")


def expected_loss(tables: Sequence[TableFindings]) -> str | None:
    """Return a sentence on the table with the largest expected loss and its fix; None if all losses are small.

    Robots and internal traffic do not count, because they are excluded on purpose.
    """
    shares = [(_lost(one) / one.counts["read"], one) for one in tables if one.counts.get("read")]
    share, table = max(shares, key=lambda entry: entry[0], default=(0.0, None))
    worst = _worst(table) if table else None
    if table is None or worst is None or share <= _MUCH:
        return None
    lost = f"{share:.1%} of the {table.part} ({_lost(table):,} of {table.counts['read']:,})"
    return (
        f"An ingest would accept these rows, and put {lost} into quarantine, mostly as {worst['rule']}. "
        f"First: {_fix(table, worst['rule'], worst['advice'])}"
    )


def with_cause(table: TableFindings) -> TableFindings:
    """Put the rule that most rows break, and its fix, before the reason why an ingest would refuse the table."""
    table.refused, table.refused_with_consent = (
        _caused(table, refused) for refused in (table.refused, table.refused_with_consent)
    )
    return table


def _caused(table: TableFindings, refused: str | None) -> str | None:
    worst = _worst(table)
    if not (refused and worst and any(name in refused for name in (QUARANTINED_SHARE, worst["rule"]))):
        return refused
    rows = f"{worst['rows']:,} of {table.counts['read']:,} rows"
    fix = _fix(table, worst["rule"], worst["advice"])
    return f"{rows} would wait in quarantine as {worst['rule']}. First: {fix} {refused}"


def _worst(table: TableFindings) -> BrokenRule | None:
    """Return the rule that most rows of a table break, except rules that exclude rows on purpose."""
    rules = [rule for rule in table.broken if rule["rule"] not in _ON_PURPOSE]
    return max(rules, key=lambda rule: rule["rows"], default=None)


def _lost(table: TableFindings) -> int:
    excluded = sum(rule["rows"] for rule in table.broken if rule["rule"] in _ON_PURPOSE)
    return max(0, table.counts.get("quarantined", 0) - excluded)


def _fix(table: TableFindings, rule: str, advice: str) -> str:
    """Return the settings that would read the cells of a rule, or else the advice on the rule."""
    key = f"({rule.removesuffix('_unreadable')})"
    written = [one.write for one in table.suspicions if one.id == "unreadable_cells" and key in one.says and one.write]
    if not written:
        return advice
    ways = (" and ".join(way.splitlines()) for way in written[0].split("\n# or\n"))
    return f"write {' or '.join(ways)} in [{table.part}]."
