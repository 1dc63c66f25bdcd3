"""Prints recommendations, what goes with a product, and explanations."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.terminal.console import line, table

_MOST_RANGES = 3
_TOO_FEW = "Nothing is known to go with it: too few baskets have it."


def score_ranges(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return which places of a list have scores that compare; empty if all do."""
    ranges: list[list[Mapping[str, Any]]] = []
    for row in rows:
        if ranges and row["score"] <= ranges[-1][-1]["score"]:
            ranges[-1].append(row)
        else:
            ranges.append([row])
    if len(ranges) <= 1:
        return ""
    ends = ((some[0]["rank"], some[-1]["rank"]) for some in ranges)
    named = ", ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in ends)
    alike = f"compare only within the places {named}" if len(ranges) <= _MOST_RANGES else "do not give this order alone"
    return (
        f"Scores {alike}. What the model leaves open is filled by a fallback such as best sellers, whose scores are on "
        "another scale, and rules may move an item."
    )


def print_user_list(user: str, rows: Sequence[Mapping[str, Any]], why: str = "", note: str = "") -> None:
    """Print one user's recommendations with ids, titles and reasons, or `why` there are none; a `note` comes last."""
    if not rows:
        line(why)
        return
    names = {"rank": "#", "item_id": "item", "title": "product", "score": "score", "reason": "reason"}
    table(f"Recommendations for {user}", rows, names)
    if ranges := score_ranges(rows):
        line(ranges, "dim")
    shown = {row["rank"] for row in rows}
    hidden = [place for place in range(1, max(shown)) if place not in shown]
    if hidden:
        line(f"Not shown, as the item cannot be bought now: place {', '.join(map(str, hidden))}.")
    _note(note)


def _note(note: str) -> None:
    """Print a note on what is shown, if there is one."""
    if note:
        line(note, "yellow")


def print_basket_recommendations(rows: Sequence[Mapping[str, Any]], user: str | None = None, note: str = "") -> None:
    """Print what goes well with a product or a basket, and what the places are given by; a `note` comes last."""
    if not rows:
        line(f"These lists name nothing that goes with it. {note}" if note else _TOO_FEW)
        return
    priced = [{**row, "price": _price(row)} for row in rows]
    table(
        "Goes well with it",
        priced,
        {"rank": "#", "item_id": "item", "title": "product", "price": "price", "fit": "fit"},
    )
    by = f"by its fit and the preferences of {user} alike" if user else "by its fit, the best first"
    line(f"Each place is given {by}. A fit of 0 is no better than chance.", "dim")
    _note(note)


def _price(row: Mapping[str, Any]) -> str:
    """Return the price of an item with two digits, and its currency if it is known; empty without a price."""
    return "" if row.get("price") is None else f"{row['price']:,.2f} {row.get('currency') or ''}".rstrip()


def explanation(found: Mapping[str, Any], most: int = 12, note: str = "") -> None:
    """Why an item is where it is, and the strongest of what the score is made of; a `note` comes last."""
    line(f"{found['title'] or found['item']} for {found['user']}: {found['why']}")
    if found.get("reason"):
        line(f"The reason that the user sees: {found['reason']}")
    added = [{"feature": name, "adds": value} for name, value in found["contributions"].items()]
    if added:
        title = f"What the score is made of ({found['adds_to']}, version {found['model_version']})"
        table(title, added[:most], {"feature": "feature", "adds": "adds"})
        if len(added) > most:
            rest = sum(row["adds"] for row in added[most:])
            line(f"The other {len(added) - most} add {rest:+.4f} together; --json has them all.")
    elif "rank" in found and not found.get("adds_to"):
        line(f"The score of {found['model']} is one number without parts.")
    _note(note)
