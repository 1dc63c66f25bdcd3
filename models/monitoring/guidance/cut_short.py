"""Interrupted ingests, and the command that ingests their files again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from posixpath import basename, dirname, join
from shlex import quote
from typing import Final

_FEW: Final = 3
"""Up to this many files are listed one by one."""
_OPTIONS: Final = {
    "consent": "--consent",
    "consent_note": "--consent-note",
    "from": "--from",
    "to": "--to",
    "project": "--project",
    "region": "--region",
}
"""Options of an ingest, by the mapping keys that they override."""
_SOURCE: Final = "name"
_ENDING: Final = re.compile(r"(\.[A-Za-z]+)+$")
_COUNTER: Final = "0123456789-_."
"""Characters that are cut from the end of a common prefix, because later files differ in them."""


@dataclass(frozen=True)
class CutShort:
    """Files of one source whose ingest was interrupted, with its options."""

    source: str
    mapping: str
    locations: tuple[str, ...]
    overrides: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    """The address of the database that the rows come from; empty for files."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further options of an ingest from a database."""

    @property
    def situation(self) -> str:
        """Return the situation in a sentence."""
        unit = "table" if self.database else "file"
        files = f"1 {unit}" if len(self.locations) == 1 else f"{len(self.locations):,} {unit}s"
        return f"The ingest of {files} of {self.source} was cut short; nothing of {self.them} counts."

    @property
    def them(self) -> str:
        """Return the pronoun for its files."""
        return "it" if len(self.locations) == 1 else "them"

    @property
    def command(self) -> str:
        """Return the command that ingests the files again, with the same options."""
        names = self.overrides
        if self.database:
            stated = {"--mapping": self.mapping, "--url": self.database}
            stated |= {f"--{name}": word for name, word in self.options.items()}
            stated |= {option: names[key] for key, option in {_SOURCE: "--source", **_OPTIONS}.items() if key in names}
            return " ".join(["tailorbird ingest sql", *(f"{name} {quote(word)}" for name, word in stated.items())])
        arguments = [quote(self.mapping)]
        if _SOURCE in names:
            arguments = [quote(names[_SOURCE]), "--mapping", quote(self.mapping)]
        options = [part for key, option in _OPTIONS.items() if key in names for part in (option, quote(names[key]))]
        return " ".join(["tailorbird ingest", *arguments[:1], *map(quote, self._places), *arguments[1:], *options])

    @property
    def _places(self) -> tuple[str, ...]:
        """Return the files; for many files a pattern or their folder."""
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
