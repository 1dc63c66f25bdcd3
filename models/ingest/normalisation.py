"""Spelling that is mended while rows come in, by what the mapping declares and never by what the data look like."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, ConfigDict

from models.columns import CATEGORY_SEPARATOR
from models.ingest.currencies import CODES, NAMES
from models.ingest.tabular.unreadable_cells import UnreadableCells


def _named(said: dict[str, str]) -> dict[str, str]:
    if any(not word.strip() for pair in said.items() for word in pair):
        raise ValueError('both sides have to say something: "their spelling" = "our spelling"')
    return said


def _codes(said: dict[str, str]) -> dict[str, str]:
    if unknown := [code for code in _named(said).values() if code not in CODES]:
        raise ValueError(f"{unknown[0]!r} is no currency code by ISO 4217; write one such as EUR")
    return said


def _levels(said: dict[str, str]) -> dict[str, str]:
    if paths := [level for level in _named(said) if CATEGORY_SEPARATOR in level]:
        raise ValueError(f"{paths[0]!r} is a path; write the levels of a category one by one")
    return said


class Spelling(BaseModel):
    """Their spelling → ours, found without regard to case and to space around and between the words."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    category: Annotated[dict[str, str], AfterValidator(_levels)] = {}
    """The source's spelling → yours, for each level of a category path separately."""
    brand: Annotated[dict[str, str], AfterValidator(_named)] = {}
    """The source's spelling of brands → yours."""
    currency: Annotated[dict[str, str], AfterValidator(_codes)] = {}
    """Names of currencies → ISO 4217 codes, besides the usual names such as `€` and `EURO`."""


Counts = dict[str, int]
"""What was mended, and in how many rows."""


class Cleaned(NamedTuple):
    """Canonical rows, what was mended in them, and what could not be read."""

    rows: pa.Table
    counts: Counts
    unread: tuple[UnreadableCells, ...] = ()


def told(**counts: int) -> Counts:
    """The counts that are worth telling."""
    return {name: count for name, count in counts.items() if count}


def currencies(values: Any, synonyms: Mapping[str, str]) -> tuple[Any, int]:
    """Codes by ISO 4217, and how many were written otherwise; what is none stays as it is, for a rule to find."""
    own = _found_by(synonyms)

    def code(said: str) -> str | None:
        word = _plain(said)
        known = own.get(word.casefold()) or NAMES.get(word.upper(), word.upper())
        return known if known in CODES else (said if word else None)

    return _respelt(values, code)


def brands(values: Any, synonyms: Mapping[str, str]) -> tuple[Any, int]:
    """Brands as the synonyms write them, and how many were written otherwise."""
    own = _found_by(synonyms)
    return _respelt(values, lambda said: own.get(_plain(said).casefold(), said)) if own else (values, 0)


def categories(values: Any, synonyms: Mapping[str, str]) -> tuple[Any, int]:
    """Category paths with each level as the synonyms write it, and how many were written otherwise."""
    own = _found_by(synonyms)

    def path(said: str) -> str:
        levels = said.split(CATEGORY_SEPARATOR)
        return CATEGORY_SEPARATOR.join(own.get(_plain(level).casefold(), level) for level in levels)

    return _respelt(values, path) if own else (values, 0)


def _plain(said: str) -> str:
    return " ".join(said.split())


def _found_by(synonyms: Mapping[str, str]) -> dict[str, str]:
    return {_plain(theirs).casefold(): ours for theirs, ours in synonyms.items()}


def _respelt(values: Any, spelt: Callable[[str], str | None]) -> tuple[Any, int]:
    """The values spelt anew, each different one looked at once, and in how many rows that changed something."""
    encoded = pc.dictionary_encode(values)
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    before = encoded.dictionary.to_pylist()
    after = [spelt(said) for said in before]
    changed = pa.array([old != new for old, new in zip(before, after, strict=True)], pa.bool_())
    count = pc.sum(changed.take(encoded.indices)).as_py() or 0
    return (pa.array(after, pa.string()).take(encoded.indices), count) if count else (values, 0)
