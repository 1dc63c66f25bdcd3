"""Events that no customer made: those of robots, and those of people who work here."""

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, ConfigDict

from models import columns
from models.ingest import robots

ROBOT: Final = "robot"
INTERNAL: Final = "internal"
USER_ID_TOO_LONG: Final = "user_id_too_long"
MARKS: Final = (ROBOT, INTERNAL, USER_ID_TOO_LONG)
LONGEST_ID: Final = 256
"""Characters that an id may have: longer ones are mistakes or attacks."""


def _networks(said: list[str]) -> list[str]:
    for network in said:
        try:
            ip_network(network)
        except ValueError as error:
            raise ValueError(f"{error}; write an address or a network such as 10.0.0.0/8 or 2001:db8::/32") from None
    return said


def _words(said: list[str]) -> list[str]:
    if any(not word.strip() for word in said):
        raise ValueError("an empty word would match everything; take it out")
    return said


class Traffic(BaseModel):
    """Which events are left out because of who made them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    robots: bool = True
    """Whether to look user agents up in the list of known robots."""
    robot_agents: Annotated[list[str], AfterValidator(_words)] = []
    """Further robots: texts that their user agents contain, in any case."""
    internal_users: Annotated[list[str], AfterValidator(_words)] = []
    """Raw ids of people who test the shop."""
    internal_addresses: Annotated[list[str], AfterValidator(_networks)] = []
    """Networks that only your own staff uses."""


def too_long(ids: Any, limit: int = LONGEST_ID) -> Any:
    """Which ids have more characters than an id has; a missing one has none."""
    return pc.fill_null(pc.greater(pc.utf8_length(ids), limit), False)


def people(ids: Any, nobody: Sequence[str], limit: int = LONGEST_ID) -> Any:
    """Which ids are those of people: not missing, not too long, and none of the words for `nobody`."""
    none = pc.or_(too_long(ids, limit), pc.is_in(ids, value_set=pa.array(nobody, pa.string())))
    return pc.and_(pc.is_valid(ids), pc.invert(none))


def marked(events: pa.Table, traffic: Traffic, limit: int = LONGEST_ID) -> pa.Table:
    """Events with the raw `user_id`, and what can be told of who sent them: `robot`, `internal`, `user_id_too_long`.

    It has to be told before ids become pseudonyms. `user_agent` and `ip` have served and are gone.
    """
    people = events[columns.USER_ID]
    found = {
        ROBOT: _judged(events, columns.USER_AGENT, lambda agents: _robots(agents, traffic)),
        INTERNAL: pc.or_(
            _judged(events, columns.IP, lambda addresses: _inside(addresses, traffic.internal_addresses)),
            pc.is_in(people, value_set=pa.array(traffic.internal_users, pa.string())),
        ),
        USER_ID_TOO_LONG: too_long(people, limit),
    }
    rows = events.drop_columns([name for name in (columns.USER_AGENT, columns.IP) if name in events.column_names])
    for name, values in found.items():
        rows = rows.append_column(name, values)
    return rows


def _judged(events: pa.Table, column: str, judge: Callable[[pa.Array], pa.Array]) -> Any:
    """What is true of a column's values, each different one looked at once; nothing is true of what is absent."""
    if column not in events.column_names or events[column].null_count == len(events):
        return pa.repeat(pa.scalar(False), len(events))
    said = events[column].combine_chunks().dictionary_encode()
    return pc.fill_null(judge(said.dictionary).take(said.indices), False)


def _robots(agents: pa.Array, traffic: Traffic) -> pa.Array:
    declared = robots.containing(agents, traffic.robot_agents)
    return pc.or_(declared, robots.known(agents)) if traffic.robots else declared


def _inside(addresses: pa.Array, networks: Sequence[str]) -> pa.Array:
    """Which addresses belong to one of the networks. What is no address belongs to none."""
    houses = [ip_network(network) for network in networks]

    def internal(said: str) -> bool:
        try:
            address = ip_address(said.strip())
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in house for house in houses)

    return pa.array([bool(houses) and internal(said) for said in addresses.to_pylist()], pa.bool_())
