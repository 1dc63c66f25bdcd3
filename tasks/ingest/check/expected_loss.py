"""What share of the rows an ingest would put into quarantine, and what would bring most of them in."""

from collections.abc import Sequence
from typing import Final

from tasks.ingest.check.findings import TableFindings

_MUCH: Final = 0.01
_ON_PURPOSE: Final = ("robot", "internal_traffic")


def expected_loss(found: Sequence[TableFindings]) -> str | None:
    """Return a sentence on the table that would lose the largest share, and what to do first; None if all lose little.

    Robots and internal traffic do not count: they are kept out on purpose.
    """
    shares = [(_lost(one) / one.counts["read"], one) for one in found if one.counts.get("read")]
    share, table = max(shares, key=lambda of: of[0], default=(0.0, None))
    rules = [rule for rule in table.broken if rule["rule"] not in _ON_PURPOSE] if table else []
    if table is None or share <= _MUCH or not rules:
        return None
    worst = max(rules, key=lambda rule: rule["rows"])
    lost = f"{share:.1%} of the {table.part} ({_lost(table):,} of {table.counts['read']:,})"
    return (
        f"An ingest would accept these rows, and put {lost} into quarantine, mostly as {worst['rule']}. "
        f"First: {_fix(table, worst['rule'], worst['advice'])}"
    )


def _lost(table: TableFindings) -> int:
    kept_out = sum(int(rule["rows"]) for rule in table.broken if rule["rule"] in _ON_PURPOSE)
    return max(0, table.counts.get("quarantined", 0) - kept_out)


def _fix(table: TableFindings, rule: str, advice: str) -> str:
    """Return the settings that would read the cells of a rule, or else what helps against the rule."""
    key = f"({rule.removesuffix('_unreadable')})"
    written = [one.write for one in table.suspicions if one.id == "unreadable_cells" and key in one.says and one.write]
    if not written:
        return advice
    ways = (" and ".join(way.splitlines()) for way in written[0].split("\n# or\n"))
    return f"write {' or '.join(ways)} in [{table.part}]."
