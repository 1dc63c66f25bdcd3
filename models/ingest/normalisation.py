"""Normalise spelling during ingest, by the declarations of the mapping and never by guesses from the data."""

from collections.abc import Callable, Mapping
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, ConfigDict

from models.columns import CATEGORY_SEPARATOR
from models.ingest.currencies import CODES, NAMES
from models.primitives.arrow_types import ArrowColumn


def _stated(value: dict[str, str]) -> dict[str, str]:
    if any(not word.strip() for pair in value.items() for word in pair):
        raise ValueError('both sides need a text: "their spelling" = "our spelling"')
    return value


def _codes(value: dict[str, str]) -> dict[str, str]:
    if unknown := [code for code in _stated(value).values() if code not in CODES]:
        raise ValueError(f"{unknown[0]!r} is no currency code by ISO 4217; write one such as EUR")
    return value


def _levels(value: dict[str, str]) -> dict[str, str]:
    if paths := [level for level in _stated(value) if CATEGORY_SEPARATOR in level]:
        raise ValueError(f"{paths[0]!r} is a path; write the levels of a category one by one")
    return value


class Spelling(BaseModel):
    """Their spelling → ours, without regard to case and to space around and between the words."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    category: Annotated[dict[str, str], AfterValidator(_levels)] = {}
    """The source's spelling → yours, for each level of a category path separately."""
    brand: Annotated[dict[str, str], AfterValidator(_stated)] = {}
    """The source's spelling of brands → yours."""
    currency: Annotated[dict[str, str], AfterValidator(_codes)] = {}
    """Names of currencies → ISO 4217 codes, besides the usual names such as `€` and `EURO`."""


Counts = dict[str, int]
"""The number of normalised rows, by kind of change."""


def nonzero_counts(**counts: int) -> Counts:
    """Return the counts above 0."""
    return {name: count for name, count in counts.items() if count}


def currencies(values: ArrowColumn, synonyms: Mapping[str, str]) -> tuple[ArrowColumn, int]:
    """Return codes by ISO 4217, and how many changed; an unknown currency stays, and a rule reports it."""
    own = _by_folded_spelling(synonyms)

    def code(value: str) -> str | None:
        word = _plain(value)
        known = own.get(word.casefold()) or NAMES.get(word.upper(), word.upper())
        return known if known in CODES else (value if word else None)

    return _respelt(values, code)


def brands(values: ArrowColumn, synonyms: Mapping[str, str]) -> tuple[ArrowColumn, int]:
    """Return brands in the spelling of the synonyms, and how many changed."""
    own = _by_folded_spelling(synonyms)
    return _respelt(values, lambda value: own.get(_plain(value).casefold(), value)) if own else (values, 0)


def categories(values: ArrowColumn, synonyms: Mapping[str, str]) -> tuple[ArrowColumn, int]:
    """Return category paths with each level in the spelling of the synonyms, and how many changed."""
    own = _by_folded_spelling(synonyms)

    def path(value: str) -> str:
        levels = value.split(CATEGORY_SEPARATOR)
        return CATEGORY_SEPARATOR.join(own.get(_plain(level).casefold(), level) for level in levels)

    return _respelt(values, path) if own else (values, 0)


def _plain(value: str) -> str:
    return " ".join(value.split())


def _by_folded_spelling(synonyms: Mapping[str, str]) -> dict[str, str]:
    return {_plain(theirs).casefold(): ours for theirs, ours in synonyms.items()}


def _respelt(values: ArrowColumn, spelt: Callable[[str], str | None]) -> tuple[ArrowColumn, int]:
    """Return the respelt values and the number of changed rows; each different value is respelt once."""
    encoded = pc.dictionary_encode(values)
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    before = encoded.dictionary.to_pylist()
    after = [spelt(value) for value in before]
    changed = pa.array([old != new for old, new in zip(before, after, strict=True)], pa.bool_())
    count = pc.sum(changed.take(encoded.indices)).as_py() or 0
    return (pa.array(after, pa.string()).take(encoded.indices), count) if count else (values, 0)
