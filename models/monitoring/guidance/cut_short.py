"""Ingests that were cut short, and the command that takes their files in again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from posixpath import basename, dirname, join
from shlex import quote
from typing import Final

_FEW: Final = 3
"""So many files are given one by one."""
_OPTIONS: Final = {"consent": "--consent", "consent_note": "--consent-note", "from": "--from", "to": "--to"}
"""Options of an ingest by the keys of a mapping which they override."""
_SOURCE: Final = "name"
_ENDING: Final = re.compile(r"(\.[A-Za-z]+)+$")
_COUNTER: Final = "0123456789-_."
"""What tells files apart at the end of their common beginning: files that were not reached yet have others."""


@dataclass(frozen=True)
class CutShort:
    """Files of one source whose ingest was cut short, as it was asked for."""

    source: str
    mapping: str
    locations: tuple[str, ...]
    overrides: Mapping[str, str] = field(default_factory=dict)

    @property
    def situation(self) -> str:
        """Return a sentence."""
        files = "1 file" if len(self.locations) == 1 else f"{len(self.locations):,} files"
        return f"The ingest of {files} of {self.source} was cut short; nothing of {self.them} counts."

    @property
    def them(self) -> str:
        """Return the pronoun for its files."""
        return "it" if len(self.locations) == 1 else "them"

    @property
    def command(self) -> str:
        """Return the ingest that takes the files in, with the options of before."""
        names = self.overrides
        arguments = [quote(self.mapping)]
        if _SOURCE in names:
            arguments = [quote(names[_SOURCE]), "--mapping", quote(self.mapping)]
        options = [part for key, option in _OPTIONS.items() if key in names for part in (option, quote(names[key]))]
        return " ".join(["tailorbird ingest", *arguments[:1], *map(quote, self._places), *arguments[1:], *options])

    @property
    def _places(self) -> tuple[str, ...]:
        """Return the files; of many a pattern, or else the folder that has them all."""
        if len(self.locations) <= _FEW:
            return self.locations
        folders = {dirname(location) for location in self.locations}
        if len(folders) > 1:
            return (_beginning(self.locations).rpartition("/")[0] + "/",)
        names, [folder] = sorted(map(basename, self.locations)), folders
        begin = _beginning(names).rstrip(_COUNTER)
        ends = {match[0] if (match := _ENDING.search(name)) else "" for name in names}
        if len(ends) > 1 or set("*?[{") & set(folder + begin):
            return (folder,)
        return (join(folder, f"{begin}*{ends.pop()}"),)


def _beginning(names: Sequence[str]) -> str:
    return commonprefix(names)  # noqa: RUF071, up to the character in which names differ
