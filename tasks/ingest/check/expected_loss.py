"""What share of the rows an ingest would put into quarantine, and what would bring most of them in."""

from collections.abc import Sequence
from typing import Any, Final

from expectations.limits import QUARANTINED_SHARE
from tasks.ingest.check.findings import TableFindings

_MUCH: Final = 0.01
_ON_PURPOSE: Final = ("robot", "internal_traffic")


def expected_loss(found: Sequence[TableFindings]) -> str | None:
    """Return a sentence on the table that would lose the largest share, and what to do first; None if all lose little.

    Robots and internal traffic do not count: they are kept out on purpose.
    """
    shares = [(_lost(one) / one.counts["read"], one) for one in found if one.counts.get("read")]
    share, table = max(shares, key=lambda of: of[0], default=(0.0, None))
    worst = _worst(table) if table else None
    if table is None or worst is None or share <= _MUCH:
        return None
    lost = f"{share:.1%} of the {table.part} ({_lost(table):,} of {table.counts['read']:,})"
    return (
        f"An ingest would accept these rows, and put {lost} into quarantine, mostly as {worst['rule']}. "
        f"First: {_fix(table, worst['rule'], worst['advice'])}"
    )


def with_cause(found: TableFindings) -> TableFindings:
    """Put the rule that most rows broke and what helps before the reason why an ingest would refuse the table."""
    found.refused, found.refused_with_consent = (
        _caused(found, refused) for refused in (found.refused, found.refused_with_consent)
    )
    return found


def _caused(found: TableFindings, refused: str | None) -> str | None:
    worst = _worst(found)
    if not (refused and worst and any(name in refused for name in (QUARANTINED_SHARE, worst["rule"]))):
        return refused
    rows = f"{worst['rows']:,} of {found.counts['read']:,} rows"
    fix = _fix(found, worst["rule"], worst["advice"])
    return f"{rows} would wait in quarantine as {worst['rule']}. First: {fix} {refused}"


def _worst(table: TableFindings) -> dict[str, Any] | None:
    """Return the rule that most rows of a table broke, but for those that are kept out on purpose."""
    rules = [rule for rule in table.broken if rule["rule"] not in _ON_PURPOSE]
    return max(rules, key=lambda rule: int(rule["rows"]), default=None)


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
