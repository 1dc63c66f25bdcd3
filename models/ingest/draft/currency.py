"""Guess the currency of the prices of a table: by a column, by the name of the price, or by its signs."""

from collections.abc import Sequence
from typing import Final

from models.ingest.currencies import CODES, NAMES
from models.ingest.draft.names import plain
from models.ingest.draft.parts import Part
from models.ingest.draft.roles import Choice
from models.ingest.draft.samples import Column

_NAME_CODES: Final = frozenset(
    ["aud", "brl", "cad", "chf", "cny", "czk", "dkk", "eur", "gbp", "inr", "jpy", "nok", "nzd", "pln", "sek", "usd"]
)
"""Codes that occur in column names, such as price_eur. Other codes, such as TOP and ALL, are also words."""
_SEVERAL: Final = {"$": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN"), "¥": ("JPY", "CNY")}
"""Signs that several currencies share, the most usual one first."""


def add_currency(part: Part, money: Column | None, signs: Sequence[str]) -> None:
    """Add the column or the constant for the currency of a price; a guess that may be wrong is commented out."""
    coded = [
        one for one in part.sample.columns.values() if one.values and {w.lower() for w in one.values} <= _NAME_CODES
    ]
    for one in [*part.sample.candidates("currency"), *coded]:
        words = {word.upper() for word in one.values}
        if words and all(word in CODES or word in NAMES for word in words):
            part.column("currency", Choice(one.name))
            return
    if money is None:
        return
    in_name = [word.upper() for word in plain(money.name).split("_") if word in _NAME_CODES]
    written = list(dict.fromkeys(_code(sign) for sign in signs))
    codes = list(dict.fromkeys([*in_name, *written]))
    several = next((_SEVERAL[sign] for sign in signs if sign in _SEVERAL), ())
    if len(codes) > 1:
        several_codes = ", ".join(codes)
        part.comments.append(f"{money.name} has several currencies ({several_codes}): name a column that has them.")
    elif codes and several and not in_name:
        _constant(part, codes[0], f"{signs[0]} may also be {', '.join(several[1:])}", certain=False)
    elif codes:
        _constant(part, codes[0], f"as {money.name} {'says' if in_name else 'is written'}", certain=True)


def _code(sign: str) -> str:
    word = sign.upper()
    return word if word in CODES else NAMES[word]


def _constant(part: Part, code: str, note: str, *, certain: bool) -> None:
    """State the currency beside the other constants."""
    before = next((line for line in part.lines if line.key == "constants"), None)
    constants: dict[str, object] = {**(before.value if before else {}), "currency": code}
    if certain and before:
        part.lines[part.lines.index(before)] = type(before)("constants", constants, before.note or note)
    elif certain:
        part.add("constants", constants, note)
    else:
        instead = " in place of the line above" if before else ""
        part.suggest("constants", constants, f"the currency{instead}: {note}")
