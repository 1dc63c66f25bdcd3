"""Detect the encoding and the header line of a text file.

The encoding comes from the bytes; the one of a one-byte text is a guess by the languages whose letters they would be.
"""
# ruff: noqa: RUF001 -- these letters are meant

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Final, NamedTuple

UTF_8: Final = "utf-8"
WINDOWS: Final = "cp1252"
LATIN: Final = "iso8859-1"
_UNDEFINED: Final = frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))
"""Bytes that Windows-1252 leaves undefined and that are control characters in Latin-1."""
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # it begins with the mark of UTF-16
    *((mark, "utf-16") for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
    (codecs.BOM_UTF8, UTF_8),
)
_HALF: Final = 0.3
"""In UTF-16, about half of the bytes of texts in Latin letters are zero."""
NAMES: Final = {
    UTF_8: "UTF-8",
    WINDOWS: "Windows-1252",
    LATIN: "Latin-1",
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be"), "UTF-16"),
    "utf-32": "UTF-32",
}


def detected(blocks: Iterable[bytes]) -> str:
    """Return the encoding of a text in blocks, by the name of its Python codec.

    UTF-16 is recognised by its byte order mark or its zeros, UTF-32 by its mark. A text with more damaged than sound
    UTF-8 characters counts as Windows-1252, which has the characters of Latin-1.
    """
    decoder = codecs.getincrementaldecoder(UTF_8)("replace")
    sound, damaged, undefined = 0, 0, False
    for number, block in enumerate(chain(blocks, [b""])):
        if number == 0 and (wide := _wide(block)):
            return wide
        text = decoder.decode(block, final=not block)
        if not text.isascii():
            strange = len(text) - len(text.encode("ascii", "ignore"))
            damaged += (lost := text.count("\N{REPLACEMENT CHARACTER}"))
            sound += strange - lost
            undefined = undefined or any(byte in block for byte in _UNDEFINED)
    if damaged <= sound:
        return UTF_8
    return LATIN if undefined else WINDOWS


def marked(beginning: bytes) -> str | None:
    """Return the encoding that the byte order mark at the beginning of a text states; None without a mark."""
    return next((name for mark, name in _MARKS if beginning.startswith(mark)), None)


def _wide(block: bytes) -> str | None:
    if (stated := marked(block)) and stated != UTF_8:
        return stated
    beginning = block[:4096]
    even, odd = (beginning[side::2].count(0) / max(1, len(beginning) // 2) for side in (0, 1))
    if odd > _HALF and even < odd / 10:
        return "utf-16-le"
    return "utf-16-be" if even > _HALF and odd < even / 10 else None


_SEPARATORS: Final = (",", ";", "\t", "|")
_MOST_ROWS: Final = 20
"""The number of rows in which the header is searched."""


def _fitting(lines: Sequence[str], separator: str, names: Collection[str] = ()) -> tuple[int, int, int]:
    """Return the number of rows as wide as the header, the width of the header, and the number of rows.

    A header of one column, or without any of the `names`, fits nothing.
    """
    try:
        rows = [row for row in csv.reader(lines, delimiter=separator) if row]
    except csv.Error:
        return 0, 0, len(lines)
    header = rows[0] if rows else []
    if len(header) < 2 or (names and not set(names) & set(header)):
        return 0, 0, len(rows)
    return sum(len(row) == len(header) for row in rows), len(header), len(rows)


def better_separator(beginning: str, used: str, names: Collection[str] = (), *, whole: bool = True) -> str:
    """Return a hint on the separator that fits the first lines of a file and gives the column `names`.

    Empty if the used one fits as well. `whole` states that no line is cut off at the end.
    """
    lines = beginning.splitlines()
    lines = [line for line in (lines if whole or len(lines) < 2 else lines[:-1]) if line]
    candidates = {one: _fitting(lines, one, names) for one in _SEPARATORS}
    best = max(candidates, key=lambda one: candidates[one][:2])
    fits, width, rows = candidates[best]
    if width < 2 or fits <= _fitting(lines, used, names)[0]:
        return ""
    return f"`separator = {json.dumps(best)}` would read {fits:,} of {rows:,} lines"


def likely_separator(lines: Sequence[str]) -> str:
    """Return the separator with which most lines below a title have as many values as the header has names."""

    def rank(separator: str) -> tuple[int, int]:
        fits, width, rows = _fitting(lines[lines_above_header(lines, separator) :], separator)
        return 2 * fits - rows, width

    return max(_SEPARATORS, key=rank)


def lines_above_header(lines: Sequence[str], separator: str) -> int:
    """Return how many lines stand above the header: 0 unless the rows above it have far fewer values than most rows."""
    reader = csv.reader(lines, delimiter=separator)
    rows: list[tuple[int, list[str]]] = []
    above = 0
    try:
        for row in reader:
            rows += [(above, row)] if row else []
            above = reader.line_num
    except csv.Error:
        return 0
    widths = Counter(len(row) for _, row in rows if len(row) > 1)
    width = max(widths, key=lambda one: (widths[one], one), default=0)
    for above, row in rows[:_MOST_ROWS]:
        filled = sum(bool(cell.strip()) for cell in row)
        if len(row) == width and filled > width / 2:
            return above
        if filled >= width / 2:  # no title: a header that does not fit its lines
            return 0
    return 0


_WESTERN, _CENTRAL, _LATIN_2 = "windows-1252", "windows-1250", "iso-8859-2"
_CYRILLIC, _TURKISH = "windows-1251", "windows-1254"
_WESTERN_LETTERS: Final = "äöüßéèàç àâæçéèêëîïôœùûü áéíñóúü¿¡ºª àèéìíòóùºª àáâãçéêíóôõúºª åäöæøé áéèëïöü áðéíóúýþæö"
_LANGUAGES: Final = MappingProxyType(
    {
        _WESTERN: _WESTERN_LETTERS.split(),
        **dict.fromkeys(
            (_CENTRAL, _LATIN_2), ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž", "ăâîşţ")
        ),
        _CYRILLIC: ("абвгдежзийклмнопрстуфхцчшщъыьэюяё", "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя"),
        _TURKISH: ("çğıöşüâîi̇",),
    }
)
"""The letters beyond ASCII of the languages of an encoding. The first of equal encodings counts."""
_SIGNS: Final = frozenset("€£§©®™°²³¹½¼¾µ·•×±–—…‘’‚“”„«»‹›\N{NO-BREAK SPACE}")
_LINES: Final = re.compile(rb"[^\r\n]*[\x80-\xff][^\r\n]*")
_WORDS: Final = re.compile(rb"[^\s,;|\"]*[\x80-\xff][^\s,;|\"]*")
_MIXED: Final = re.compile("[a-z][а-я]|[а-я][a-z]")
"""Latin and Cyrillic letters in one word."""
_MOST_BYTES: Final = 1 << 18


class Guess(NamedTuple):
    """The probable encoding of a text."""

    encoding: str
    others: tuple[str, ...]
    """Other encodings, each of which reads the text differently."""
    word: bytes
    """A word of the text that the other encodings read as other letters."""

    def read(self, encoding: str) -> str:
        """Return the word in an encoding, with a question mark for an unprintable character."""
        return "".join(one if one.isprintable() else "?" for one in self.word.decode(encoding, "replace"))


def guessed(text: bytes) -> Guess | None:
    """Return the encoding whose letters fit a text best; None if it is ASCII."""
    lines = b"\n".join(_LINES.findall(text))[:_MOST_BYTES]
    if not lines:
        return None
    scores = {encoding: _fit(lines, encoding) for encoding in _LANGUAGES}
    best = max(scores, key=lambda encoding: scores[encoding])  # the first among equals
    words = Counter(_WORDS.findall(lines))
    word = max(words, key=lambda one: (one.decode(best, "replace").isalpha(), _differs(one, best), words[one]))
    others = [one for one, score in scores.items() if one != best and score > 0 and _differs(lines, best, one)]
    others.sort(key=lambda one: -scores[one])
    return Guess(best, tuple(others[:3]), word)


def same(one: str, other: str) -> bool:
    """Return whether two names mean the same encoding."""
    return codecs.lookup(one).name == codecs.lookup(other).name


def _differs(text: bytes, encoding: str, other: str | None = None) -> bool:
    others = [other] if other else [one for one in (_WESTERN, _CENTRAL) if one != encoding]
    return any(text.decode(one, "replace") != text.decode(encoding, "replace") for one in others)


def _fit(lines: bytes, encoding: str) -> float:
    """Return the share of letters beyond ASCII that fit one language; a sign before a letter fits none."""
    letters_: Counter[str] = Counter()
    signs = 0
    text = lines.decode(encoding, "replace").lower()
    for one, following in zip(text, f"{text[1:]} ", strict=True):
        if one in _SIGNS and not following.isalpha():
            signs += 1
        elif not one.isascii():
            letters_[one] += 1
    most = max(sum(count for one, count in letters_.items() if one in letters) for letters in _LANGUAGES[encoding])
    return (most - len(_MIXED.findall(text)) + signs) / max(1, letters_.total() + signs)
