"""Escape data for terminals, pages, Markdown and plots: titles and names come from untrusted sources."""

import re
from typing import Final

_HIDDEN: Final = re.compile(
    # Controls move the cursor and change colours. Surrogates cannot be written. Bidirectional marks reorder the text
    # around them; the characters after those hide text.
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_SPECIAL: Final = re.compile(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^[#+=-](?![\d.]))")
_BREAKS: Final = (
    (re.compile(r"^(\d+)(?=[.)](?!\d))"), r"\1\\"),  # a list
    (re.compile(r"(?=://)"), r"\\"),
    (re.compile(r"(?<=\bwww)(?=\.)", re.IGNORECASE), r"\\"),
    (re.compile(r"(@[^\s@.]*)(?=\.)"), r"\1\\"),
)
"""Places where a backslash keeps plain text from becoming a list or a link."""
_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LONGEST_LABEL: Final = 50


def for_terminal(text: str, allowed: str = "") -> str:
    r"""Return the text with control, bidirectional and hidden characters written out, as in `\x1b`.

    Characters in `allowed` stay: a message of several lines has line ends.
    """
    return _HIDDEN.sub(lambda match: match[0] if match[0] in allowed else _written_out(match[0]), text)


def for_page(text: str) -> str:
    """Return the text for a page that escapes HTML itself: a bidirectional mark would reorder all text after it."""
    return for_terminal(text, allowed="\t\n\r")


def for_markdown(text: str) -> str:
    """Return Markdown that shows exactly this text in one line: no element, no link, no end of a table's cell.

    Prefect and MLflow understand different escapes; these work in both.
    """
    escaped = _SPECIAL.sub(r"\\\1", for_terminal(" ".join(text.split())))
    for pattern, replacement in _BREAKS:
        escaped = pattern.sub(replacement, escaped)
    return escaped.translate(_ENTITIES)


def for_plot(text: str, longest: int = _LONGEST_LABEL) -> str:
    """Return a label for a plot: one short line."""
    words = for_terminal(" ".join(text.split()))
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
