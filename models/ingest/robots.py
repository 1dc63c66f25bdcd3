"""Which user agents belong to robots, by the list of known ones that `crawler-user-agents` keeps."""

from collections.abc import Sequence
from functools import cache, reduce
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_TOGETHER: Final = 150
# RE2 takes that many patterns for one at 4 µs an agent; all 1,500 at once outgrow its memory and take 300.


def _compiles(pattern: str) -> bool:
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False
    return True


@cache
def _known() -> tuple[str, ...]:
    """The patterns of the list, many in one. One that RE2 does not understand is left out."""
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA  # reads its file when it is imported

    patterns = [f"(?:{entry['pattern']})" for entry in CRAWLER_USER_AGENTS_DATA]
    if not _compiles("|".join(patterns)):
        patterns = [pattern for pattern in patterns if _compiles(pattern)]
    return tuple("|".join(patterns[start : start + _TOGETHER]) for start in range(0, len(patterns), _TOGETHER))


def known(agents: pa.Array) -> pa.Array:
    """True where a user agent is that of a known robot."""
    return reduce(pc.or_, (pc.match_substring_regex(agents, group) for group in _known()))


def containing(agents: pa.Array, words: Sequence[str]) -> pa.Array:
    """True where a user agent contains one of the words, in any case."""
    nothing = pa.repeat(pa.scalar(False), len(agents))
    return reduce(pc.or_, (pc.match_substring(agents, word, ignore_case=True) for word in words), nothing)
