"""Mark events that no customer made: those of robots, and those of internal users."""

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, ConfigDict

from models import columns
from models.ingest.traffic import robots
from models.primitives.arrow_types import ArrowColumn

ROBOT: Final = "robot"
INTERNAL: Final = "internal"
USER_ID_TOO_LONG: Final = "user_id_too_long"
MARKS: Final = (ROBOT, INTERNAL, USER_ID_TOO_LONG)
LONGEST_ID: Final = 256
"""The most characters of an id: longer ids are mistakes or attacks."""


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
    declared = robots.containing(agents, traffic.robot_agents)
    return pc.or_(declared, robots.known(agents)) if traffic.robots else declared


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
