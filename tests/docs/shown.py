"""Reads the commands in the shell blocks of documentation pages."""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands_of(page: Path, heading: str = "") -> Iterator[str]:
    """Yield the arguments of `tailorbird` in a page's shell blocks, limited to the section under `heading` if given."""
    text = page.read_text()
    section = text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0] if heading else text
    for block in _BLOCK.findall(section):
        for words in _statements(block.replace("\\\n", " ")):
            yield from (" ".join(shlex.quote(word) for word in part) for part in _parts(words) if part)


def _statements(block: str) -> Iterator[list[str]]:
    """Yield the words of each statement; a quoted text may have several lines."""
    pending = ""
    for line in block.splitlines():
        pending = f"{pending} {line}".strip()
        with suppress(ValueError):  # a quotation that is still open
            yield shlex.split(pending, comments=True)
            pending = ""
    assert not pending, f"a quotation is not closed: {pending}"


def _parts(words: list[str]) -> Iterator[list[str]]:
    """Split a line at `&&` and yield the words after `tailorbird` in each part that begins with it."""
    start = 0
    for end in [at for at, word in enumerate(words) if word == "&&"] + [len(words)]:
        part = words[start:end]
        if part and part[0] == "tailorbird":
            yield part[1:]
        start = end + 1
