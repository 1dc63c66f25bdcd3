"""Define the settings of every source, and apply those of spelling and traffic to rows.

Values are normalised by the declarations of a mapping, and never by guesses from the data.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache, reduce
from ipaddress import IPv6Address, ip_address, ip_network
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from models import columns
from models.columns import CATEGORY_SEPARATOR
from models.errors import TailorbirdError
from models.ingest import placeholder_ids
from models.ingest.batch_limits import Limits
from models.ingest.currencies import CODES, NAMES
from models.primitives.arrow_types import ArrowColumn
from models.primitives.config_faults import faults
from models.primitives.json_types import JsonObject

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
        raise ValueError("a word is empty; take it out")
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


def too_long(ids: ArrowColumn) -> ArrowColumn:
    """Return whether each id has more than `LONGEST_ID` characters; a missing id has none."""
    return pc.fill_null(pc.greater(pc.utf8_length(ids), LONGEST_ID), False)


def people(ids: ArrowColumn, placeholders: Sequence[str]) -> ArrowColumn:
    """Return whether each id belongs to a person: not missing, not too long, and not one of the `placeholders`."""
    unusable = pc.or_(too_long(ids), pc.is_in(ids, value_set=pa.array(placeholders, pa.string())))
    return pc.and_(pc.is_valid(ids), pc.invert(unusable))


def marked(events: pa.Table, traffic: Traffic) -> pa.Table:
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
        USER_ID_TOO_LONG: too_long(people),
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


NO_SYNONYMS: Final = Spelling()


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


Consent = Literal["given", "opt-in", "opt-out"]
_NOTES = MappingProxyType(
    {
        "opt-in": "opt-in: only events whose user agreed are taken",
        "opt-out": "opt-out: all events are taken but those whose user refused",
    }
)


class MappingError(TailorbirdError):
    """A mapping file cannot be used."""


def _moment(value: Any) -> datetime:
    """Return a date, a time or the text of either as an instant; without a zone it is in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{value!r} is no time; write 2026-03-01 or 2026-03-01T12:00:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError("write a date or a time, such as 2026-03-01 or 2026-03-01T12:00:00Z")
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value} is beyond the years 1 to 9999 in UTC; write a date such as 2026-03-01") from None


Moment = Annotated[datetime, BeforeValidator(_moment)]


class SourceMapping(BaseModel):
    """The keys that every mapping file has."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    known_placeholders: ClassVar[tuple[str, ...]] = placeholder_ids.PEOPLE
    """The user ids that identify no user in any source of this kind."""
    name: str = Field(min_length=1)
    """The name of the source in the ledger and in the lake. Without it the file's name counts, without `.toml`."""
    consent: Consent = "opt-in"
    """opt-in: only events of users who agreed. opt-out: all events except those of users who refused. given: the owner
    of the data declares consent for everybody."""
    consent_note: str = ""
    """A note on how consent was given, stored with it; required if consent is declared for everybody."""
    unknown_items: Literal["quarantine", "accept"] | None = None
    """What to do with events on items that no catalogue contains."""
    start: Moment | None = Field(None, alias="from")
    """Takes only events that occurred at or after this moment."""
    end: Moment | None = Field(None, alias="to")
    """Takes only events that occurred before this moment."""
    placeholder_ids: Annotated[list[str], AfterValidator(_words)] = []
    """Further user ids that identify no user, besides the usual ones such as `null` and `guest`."""
    traffic: Traffic = Traffic()
    """The robots and internal users whose events are left out."""
    spelling: Spelling = Spelling()
    """Other spellings of categories, brands and currencies."""
    limits: Limits = Limits()
    """The limits of one event and of one batch."""

    @property
    def placeholders(self) -> list[str]:
        """Return all spellings of user ids that identify no user."""
        return placeholder_ids.spellings([*self.known_placeholders, *self.placeholder_ids])

    @property
    def accepts_unknown_items(self) -> bool:
        """Return whether events on items that no catalogue has are accepted."""
        return self.unknown_items == "accept"

    @model_validator(mode="before")
    @classmethod
    def _add_default_consent_note(cls, content: JsonObject) -> JsonObject:
        consent = content.get("consent", "opt-in")
        note = _NOTES.get(consent) if isinstance(consent, str) else None
        return content if content.get("consent_note") or note is None else {**content, "consent_note": note}

    @model_validator(mode="after")
    def _require_consent_note(self) -> Self:
        if not self.consent_note.strip():
            raise ValueError('consent = "given" declares consent for all; state how it was given, as consent_note')
        if self.start and self.end and self.start >= self.end:
            raise ValueError(f"from ({self.start.isoformat()}) has to come before to ({self.end.isoformat()})")
        return self

    @classmethod
    def parse(cls, content: JsonObject, name: str, label: Callable[[str], str] = str) -> Self:
        """Return the mapping in `content`. Raises MappingError with all missing, misspelt or invalid keys at once.

        `label` returns the name of a key in messages, such as the key with its line in a file.
        """
        try:
            return cls.model_validate({"name": name, **content})
        except ValidationError as error:
            text = "; ".join(faults(cls, error, label=label))
            raise MappingError(f"The mapping {name!r} cannot be used: {text}.") from None
