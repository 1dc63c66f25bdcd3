"""Prints recommendations, items that go with a product, and explanations."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.terminal.console import line, table

_NAMES = {"rank": "#", "item_id": "item", "title": "product"}
_MOST_RANGES = 3


def score_ranges(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a note on the places whose scores can be compared; empty if all can."""
    ranges: list[list[Mapping[str, Any]]] = []
    for row in rows:
        if ranges and row["score"] <= ranges[-1][-1]["score"]:
            ranges[-1].append(row)
        else:
            ranges.append([row])
    if len(ranges) <= 1:
        return ""
    ends = ((rows[0]["rank"], rows[-1]["rank"]) for rows in ranges)
    listing = ", ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in ends)
    alike = (
        f"compare only within the places {listing}" if len(ranges) <= _MOST_RANGES else "do not give this order alone"
    )
    return (
        f"Scores {alike}. What the model leaves open is filled by a fallback such as best sellers, whose scores are on "
        "another scale, and rules may move an item."
    )


def print_user_list(user: str, rows: Sequence[Mapping[str, Any]], why: str = "", note: str = "") -> None:
    """Print one user's recommendations with ids, titles and reasons, or `why` there are none, then a `note`."""
    if not rows:
        line(why)
        return
    table(f"Recommendations for {user}", rows, _NAMES | {"score": "score", "reason": "reason"})
    if ranges := score_ranges(rows):
        line(ranges, "dim")
    shown = {row["rank"] for row in rows}
    hidden = [place for place in range(1, max(shown)) if place not in shown]
    if hidden:
        line(f"Not shown, as the item cannot be bought now: place {', '.join(map(str, hidden))}.")
    _note(note)


def _note(note: str) -> None:
    """Print a note if there is one."""
    if note:
        line(note, "yellow")


def print_basket_recommendations(rows: Sequence[Mapping[str, Any]], user: str | None = None, note: str = "") -> None:
    """Print the items that go well with a product or a basket, and the order of the places, then a `note`."""
    if not rows:
        line(f"These lists name nothing that goes with it. {note}" if note else "Nothing is known to go with it.")
        return
    priced = [{**row, "price": _price(row)} for row in rows]
    table("Goes well with it", priced, _NAMES | {"price": "price", "fit": "fit"})
    by = f"by its fit and the preferences of {user} alike" if user else "by its fit, the best first"
    line(
        f"Each place is given {by}. Items with a fit of 0 or less are not bought with it more often than by chance.",
        "dim",
    )
    _note(note)


def _price(row: Mapping[str, Any]) -> str:
    """Return the price of an item with two digits, and its currency if it is known; empty without a price."""
    return "" if row.get("price") is None else f"{row['price']:,.2f} {row.get('currency') or ''}".rstrip()


def explanation(explained: Mapping[str, Any], most: int = 12, note: str = "") -> None:
    """Print why an item is at its place, and the strongest parts of its score, then a `note`."""
    line(f"{explained['title'] or explained['item']} for {explained['user']}: {explained['why']}")
    if explained.get("reason"):
        line(f"The reason that the user sees: {explained['reason']}")
    for rule in explained.get("rules", ()):
        line(f"Rule of operators: {rule}")
    added = [{"feature": name, "adds": value} for name, value in explained["contributions"].items()]
    if added:
        title = f"What the score is made of ({explained['adds_to']}, version {explained['model_version']})"
        table(title, added[:most])
        if len(added) > most:
            remainder = sum(row["adds"] for row in added[most:])
            line(f"The other {len(added) - most} add {remainder:+.4f} together; --json has them all.")
    elif "rank" in explained and not explained.get("adds_to"):
        line(f"The score of {explained['model']} is one number without parts.")
    _note(note)
