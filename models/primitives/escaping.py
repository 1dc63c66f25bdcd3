"""Data as plain text for terminals, pages, Markdown and plots: titles and names come from strangers."""

import re
from typing import Final

_UNSEEN: Final = re.compile(
    # Controls move the cursor and recolour. Surrogates cannot be written. Bidirectional marks reorder what stands
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
"""Where a backslash keeps plain text from being read as a list or as an address."""
_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LONGEST_LABEL: Final = 50


def for_terminal(text: str, keep: str = "") -> str:
    r"""Return the text with control, bidirectional and hidden characters written out, as in `\x1b`.

    Characters in `keep` stay: a message of several lines keeps its line ends.
    """
    return _UNSEEN.sub(lambda found: found[0] if found[0] in keep else _written_out(found[0]), text)


def for_page(text: str) -> str:
    """Return the text for a page that escapes HTML by itself: an override would reorder what stands after it, too."""
    return for_terminal(text, keep="\t\n\r")


def for_markdown(text: str) -> str:
    """Return Markdown that shows exactly this text in one line: no element, no link, no end of a table's cell.

    Prefect's page and MLflow's understand different escapes; these are the ones that both do.
    """
    escaped = _SPECIAL.sub(r"\\\1", for_terminal(" ".join(text.split())))
    for where, broken in _BREAKS:
        escaped = where.sub(broken, escaped)
    return escaped.translate(_ENTITIES)


def for_plot(text: str, longest: int = _LONGEST_LABEL) -> str:
    """Return a label for a plot: one short line."""
    words = for_terminal(" ".join(text.split()))
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
