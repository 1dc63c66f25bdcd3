"""Guess the one-byte encoding of a text, by the languages whose letters its bytes would be."""
# ruff: noqa: RUF001 -- these letters are meant

import codecs
import re
from collections import Counter
from types import MappingProxyType
from typing import Final, NamedTuple

_WESTERN, _CENTRAL, _LATIN_2 = "windows-1252", "windows-1250", "iso-8859-2"
_CYRILLIC, _TURKISH = "windows-1251", "windows-1254"
_LANGUAGES: Final = MappingProxyType(
    {
        _WESTERN: (
            *(
                "äöüßéèàç",
                "àâæçéèêëîïôœùûü",
                "áéíñóúü¿¡ºª",
                "àèéìíòóùºª",
                "àáâãçéêíóôõúºª",
                "åäöæøé",
                "áéèëïöü",
                "áðéíóúýþæö",
            ),
        ),
        **dict.fromkeys(
            (_CENTRAL, _LATIN_2),
            ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž", "ăâîşţ"),
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
