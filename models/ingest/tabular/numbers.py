"""Read numbers from text in the form that a mapping declares. Arrow in, Arrow out."""

import re
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.primitives.arrow_types import ArrowColumn

EMPTY_CELLS: Final = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"),
    *("-NaN", "-nan", "NaN", "nan", "N/A", "NA", "n/a", "NULL", "null"),
)
"""Texts that mean a missing value."""
SPACES: Final = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"
_EXPONENT: Final = "(?:[eE][+-]?[0-9]+)?"
_WORDS: Final = "(?i:inf|infinity)"


@dataclass(frozen=True)
class NumberForm:
    """The form of numbers in a table."""

    decimal: str = "."
    thousands: str = ""
    """The separator of groups of three digits; a space is also a no-break space."""
    currency_signs: tuple[str, ...] = ()
    """Texts that may stand before or after a number, such as € or EUR."""

    @property
    def grouped(self) -> bool:
        """Return whether more than the decimal sign is declared."""
        return bool(self.thousands or self.currency_signs)

    @property
    def pattern(self) -> str:
        """Return a regular expression for a number of this form, without currency signs."""
        digits = "[0-9]+"
        if self.thousands:
            digits = f"(?:[0-9]{{1,3}}(?:{_one_of(self.thousands)}[0-9]{{3}})+|[0-9]+)"
        decimal = re.escape(self.decimal)
        return f"^[+-]?(?:{digits}(?:{decimal}[0-9]*)?|{decimal}[0-9]+){_EXPONENT}$|^[+-]?{_WORDS}$"


PLAIN: Final = NumberForm()
"""The usual form of programs."""


def parsed(texts: ArrowColumn, form: NumberForm = PLAIN) -> ArrowColumn:
    """Return the texts as numbers; null for a missing value and for a text that is not a number of this form."""
    stated = _without_empty(texts)
    if form == PLAIN:
        try:
            return pc.cast(stated, pa.float64())
        except pa.ArrowInvalid:
            pass  # some text is no number: check each
    if form.currency_signs:
        stated = _without_signs(stated, form.currency_signs)
    stated = pc.if_else(pc.match_substring_regex(stated, form.pattern), stated, pa.scalar(None, stated.type))
    if form.thousands:
        stated = pc.replace_substring_regex(stated, _one_of(form.thousands), "")
    if form.decimal != ".":
        stated = pc.replace_substring(stated, form.decimal, ".")
    return pc.cast(stated, pa.float64())


def unreadable(texts: ArrowColumn, numbers: ArrowColumn) -> ArrowColumn:
    """Return whether each text holds a value that was not read as a number."""
    return pc.and_(pc.is_valid(_without_empty(texts)), pc.is_null(numbers))


def _without_empty(texts: ArrowColumn) -> ArrowColumn:
    stated = pc.utf8_trim_whitespace(texts)
    empty = pc.is_in(stated, value_set=pa.array(EMPTY_CELLS, stated.type))
    return pc.if_else(empty, pa.scalar(None, stated.type), stated)


def _without_signs(stated: ArrowColumn, signs: tuple[str, ...]) -> ArrowColumn:
    """Remove currency signs in any position: -€5, €-5, 5 €, € 5-."""
    names = "|".join(re.escape(sign) for sign in sorted(signs, key=len, reverse=True))
    before = pc.replace_substring_regex(stated, rf"^([+-]?)\s*(?:{names})[\s{SPACES}]*", r"\1")
    return pc.replace_substring_regex(before, rf"[\s{SPACES}]*(?:{names})$", "")


def _one_of(thousands: str) -> str:
    return f"[{SPACES}]" if thousands == " " else re.escape(thousands)
