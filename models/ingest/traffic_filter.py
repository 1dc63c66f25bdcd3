"""Mark events that no customer made: those of robots, and those of internal users."""

from collections.abc import Callable, Sequence
from functools import cache, reduce
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, ConfigDict

from models import columns
from models.primitives.arrow_types import ArrowColumn

ROBOT: Final = "robot"
INTERNAL: Final = "internal"
USER_ID_TOO_LONG: Final = "user_id_too_long"
MARKS: Final = (ROBOT, INTERNAL, USER_ID_TOO_LONG)
LONGEST_ID: Final = 256
"""The most characters of an id: longer ids are mistakes or attacks."""
_TOGETHER: Final = 150
# RE2 matches this many patterns at once in 4 µs per agent; all 1,500 exceed its memory and take 300 µs.


def _networks(networks: list[str]) -> list[str]:
    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise ValueError(f"{error}; write an address or a network such as 10.0.0.0/8 or 2001:db8::/32") from None
    return networks


def _words(words: list[str]) -> list[str]:
    if any(not word.strip() for word in words):
        raise ValueError("an empty word would match everything; take it out")
    return words


class Traffic(BaseModel):
    """The senders whose events are left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    robots: bool = True
    """Whether to look user agents up in the list of known robots."""
    robot_agents: Annotated[list[str], AfterValidator(_words)] = []
    """Further robots: texts that their user agents contain, in any case."""
    internal_users: Annotated[list[str], AfterValidator(_words)] = []
    """Raw ids of people who test the shop."""
    internal_addresses: Annotated[list[str], AfterValidator(_networks)] = []
    """Networks that only your own staff uses."""


def too_long(ids: ArrowColumn, limit: int = LONGEST_ID) -> ArrowColumn:
    """Return whether each id has more than `limit` characters; a missing id has none."""
    return pc.fill_null(pc.greater(pc.utf8_length(ids), limit), False)


def people(ids: ArrowColumn, placeholders: Sequence[str], limit: int = LONGEST_ID) -> ArrowColumn:
    """Return whether each id belongs to a person: not missing, not too long, and not one of the `placeholders`."""
    unusable = pc.or_(too_long(ids, limit), pc.is_in(ids, value_set=pa.array(placeholders, pa.string())))
    return pc.and_(pc.is_valid(ids), pc.invert(unusable))


def marked(events: pa.Table, traffic: Traffic, limit: int = LONGEST_ID) -> pa.Table:
    """Return events with the marks `robot`, `internal` and `user_id_too_long`, without `user_agent` and `ip`.

    The marks need the raw `user_id`, before ids become pseudonyms.
    """
    people = events[columns.USER_ID]
    marks = {
        ROBOT: _marked_values(events, columns.USER_AGENT, lambda agents: _robots(agents, traffic)),
        INTERNAL: pc.or_(
            _marked_values(events, columns.IP, lambda addresses: _inside(addresses, traffic.internal_addresses)),
            pc.is_in(people, value_set=pa.array(traffic.internal_users, pa.string())),
        ),
        USER_ID_TOO_LONG: too_long(people, limit),
    }
    rows = events.drop_columns([name for name in (columns.USER_AGENT, columns.IP) if name in events.column_names])
    for name, values in marks.items():
        rows = rows.append_column(name, values)
    return rows


def _marked_values(events: pa.Table, column: str, judge: Callable[[pa.Array], pa.Array]) -> ArrowColumn:
    """Return a judgement on each value of a column, made once per different value; false for a missing value."""
    if column not in events.column_names or events[column].null_count == len(events):
        return pa.repeat(pa.scalar(False), len(events))
    encoded = events[column].combine_chunks().dictionary_encode()
    return pc.fill_null(judge(encoded.dictionary).take(encoded.indices), False)


def _robots(agents: pa.Array, traffic: Traffic) -> pa.Array:
    declared = containing(agents, traffic.robot_agents)
    return pc.or_(declared, known_robots(agents)) if traffic.robots else declared


def _inside(addresses: pa.Array, networks: Sequence[str]) -> pa.Array:
    """Return whether each address belongs to one of the networks; an invalid address belongs to none."""
    internal_networks = [ip_network(network) for network in networks]

    def internal(text: str) -> bool:
        try:
            address = ip_address(text.strip())
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in internal_networks)

    return pa.array([bool(internal_networks) and internal(text) for text in addresses.to_pylist()], pa.bool_())


def _compiles(pattern: str) -> bool:
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False
    return True


@cache
def _known_patterns() -> tuple[str, ...]:
    """Return the patterns of the list, joined into few. A pattern that RE2 does not support is left out."""
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA  # reads its file when it is imported

    patterns = [f"(?:{entry['pattern']})" for entry in CRAWLER_USER_AGENTS_DATA]
    if not _compiles("|".join(patterns)):
        patterns = [pattern for pattern in patterns if _compiles(pattern)]
    return tuple("|".join(patterns[start : start + _TOGETHER]) for start in range(0, len(patterns), _TOGETHER))


def known_robots(agents: pa.Array) -> pa.Array:
    """Return whether each user agent belongs to a robot on the list of `crawler-user-agents`."""
    return reduce(pc.or_, (pc.match_substring_regex(agents, group) for group in _known_patterns()))


def containing(agents: pa.Array, words: Sequence[str]) -> pa.Array:
    """Return whether each user agent contains one of the words, in any case."""
    no_match = pa.repeat(pa.scalar(False), len(agents))
    return reduce(pc.or_, (pc.match_substring(agents, word, ignore_case=True) for word in words), no_match)
