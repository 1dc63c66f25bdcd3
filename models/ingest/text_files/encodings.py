"""Detect the encoding of a text from its bytes."""

import codecs
from collections.abc import Iterable
from itertools import chain
from typing import Final

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
