"""Reads the values of requests within bounds: ids, query parameters, and the fields of bodies."""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote_to_bytes, urlencode

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from serving.answers.protocol import Filters
from serving.api.requests.problems import Fault, RefusedRequestError

LONGEST: Final = 256
_REFUSED: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_RULE: Final = f"An id has 1 to {LONGEST} characters, without control characters and line breaks."
_ACCEPTED: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def checked_id(text: str) -> str:
    """Return the id. Raises without the id."""
    if not text:
        raise ValueError(f"The id is empty. {_RULE}")
    if len(text) > LONGEST:
        raise ValueError(f"The id has {len(text)} characters. {_RULE}")
    if _REFUSED.search(text):
        raise ValueError(f"The id holds a control character or a line break. {_RULE}")
    return text


def decoded_id(segment: bytes) -> str:
    """Return the id in a segment of a path, decoded once. Raises ValueError."""
    try:
        text = unquote_to_bytes(segment).decode() if b"%" in segment else segment.decode()
    except UnicodeDecodeError:
        raise ValueError(f"The id is not UTF-8. {_RULE}") from None
    return checked_id(text)


Id = Annotated[str, AfterValidator(checked_id), Field(min_length=1, max_length=LONGEST, description=_RULE)]
"""An id in a body."""


def request_id(given: bytes) -> str:
    """Return the caller's own id if it is harmless, else a new one."""
    return given.decode() if given and _ACCEPTED.fullmatch(given) else os.urandom(8).hex()


def random_id() -> str:
    """Return a new id of 128 random bits."""
    return os.urandom(16).hex()


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Body(BaseModel):
    """A body, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _plain(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("it holds a control character")
    return text


def _written_out(value: Any) -> Any:
    """Refuse moments as numbers: 20261224 would be a day of 1970."""
    if value is not None and not isinstance(value, str | datetime):
        raise ValueError("write the time as text, such as 2026-12-24T23:00:00Z")
    return value


def _in_utc(moment: datetime) -> datetime:
    """Return the moment in UTC: at the edge of the calendar it may have none."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("it is beyond the calendar") from None


ShortText = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_plain)]
LongText = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_plain)]
Amount = Annotated[float, Field(strict=True, ge=0, le=1e12, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]


MOST_ITEMS: Final = 200
"""The most items on one page."""
DEEPEST: Final = 10_000
MOST_CONTEXT: Final = 50
MOST_FILTERS: Final = 50
MOST_EXCLUDED: Final = 500
HIGHEST_PRICE: Final = 1e12
PLACEMENT_PATTERN: Final = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
PlacementName = Annotated[str, Field(pattern=PLACEMENT_PATTERN)]
PageSize = Annotated[int, Field(strict=True, ge=1, le=MOST_ITEMS)]
_PLACEMENT: Final = re.compile(PLACEMENT_PATTERN)
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_AMOUNT: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 128


@dataclass(frozen=True)
class Parameter:
    """One parameter; `many` is how often it may be repeated."""

    name: str
    kind: Literal["id", "text", "count", "amount", "choice"]
    text: str
    example: Any
    lowest: float = 0
    highest: float = 0
    many: int = 1
    choices: tuple[str, ...] = ()

    def documented(self) -> dict[str, Any]:
        """Return the parameter as OpenAPI describes it."""
        one = self._schema()
        schema = one if self.many == 1 else {"type": "array", "items": one, "maxItems": self.many}
        shown = self.example if self.many == 1 else [self.example]
        form = {} if self.many == 1 else {"style": "form", "explode": True}
        return {
            "name": self.name,
            "in": "query",
            "required": False,
            "description": self.text,
            "schema": schema,
            "example": shown,
            **form,
        }

    def _schema(self) -> dict[str, Any]:
        if self.kind == "count":
            return {"type": "integer", "minimum": int(self.lowest), "maximum": int(self.highest)}
        if self.kind == "amount":
            return {"type": "number", "minimum": self.lowest, "maximum": self.highest}
        if self.kind == "choice":
            return {"type": "string", "enum": list(self.choices)}
        return {"type": "string", "minLength": 1, "maxLength": LONGEST}


PLACEMENT: Final = Parameter("placement", "text", "The placement; by default the built-in one.", "home")
USER: Final = Parameter("user", "id", "The user, by the id that your systems use.", "1")
SESSION: Final = Parameter(
    "session", "id", "The session or device, whose latest clicks count too. It may be a cookie of yours.", "s-7f3a"
)
K: Final = Parameter("k", "count", "Items per page; by default as the placement defines.", 10, 1, MOST_ITEMS)
OFFSET: Final = Parameter("offset", "count", "Items of earlier pages. `next` of an answer counts it.", 0, 0, DEEPEST)
CONTEXT: Final = Parameter(
    "context", "id", "An item in the basket or lately viewed; repeat it, the latest last.", "995242", many=MOST_CONTEXT
)
FILTERS: Final = (
    Parameter("category", "text", "Shows items of this category or below; repeat it for more.", "GROCERY", many=50),
    Parameter("brand", "text", "Shows items of this brand; repeat it for more.", "National", many=MOST_FILTERS),
    Parameter("lowest_price", "amount", "Shows items at this price or above.", 1, 0, HIGHEST_PRICE),
    Parameter("highest_price", "amount", "Shows items at this price or below.", 20, 0, HIGHEST_PRICE),
    Parameter("exclude", "id", "An item that must not be shown; repeat it for more.", "1082185", many=MOST_EXCLUDED),
)
CONSENT: Final = Parameter(
    "consent",
    "choice",
    "The visitor's answer, if your page asked for it; `false` gives an answer that depends on no person.",
    "true",
    choices=("true", "false"),
)
WORDS: Final = Parameter("q", "text", "Words of titles, or their beginnings; all of them have to occur.", "whole milk")
ITEM: Final = Parameter("item", "id", "An item to return; repeat it for more.", "995242", many=MOST_CONTEXT)
FORMAT: Final = Parameter("format", "choice", "JSON, or a fragment of HTML.", "html", choices=("json", "html"))
PAGING: Final = (K, OFFSET)


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The parameters of a request; those that are missing have no value."""

    placement: str | None = None
    user: str | None = None
    session: str | None = None
    k: int | None = None
    offset: int = 0
    context: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)
    format: str = "json"
    consent: bool | None = None
    rest: str = ""
    """All parameters but `offset`, encoded again for the link to the next page."""
    q: str | None = None
    items: tuple[str, ...] = ()


class QueryParser:
    """Parses the parameters of one endpoint, and remembers short queries, which callers repeat."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._known = {parameter.name: parameter for parameter in parameters}
        self._remembered: dict[bytes, ListQuery] = {b"": ListQuery()}

    def parse(self, query: bytes) -> ListQuery:
        """Return the parameters. Raises RefusedRequestError with all faults."""
        known = self._remembered.get(query)
        if known is not None:
            return known
        parsed = self._parsed(query)
        if len(query) <= _LONGEST_REMEMBERED:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[query] = parsed
        return parsed

    def _parsed(self, query: bytes) -> ListQuery:
        faults: list[Fault] = []
        values: dict[str, list[Any]] = {}
        pairs = list(_pairs(query, faults))
        for name, text in pairs:
            if name not in self._known:
                known = ", ".join(self._known) or "none"
                faults.append(Fault(name[:64], f"There is no such parameter; there are {known}."))
                continue
            parameter, found = self._known[name], values.setdefault(name, [])
            try:
                found.append(_READERS[parameter.kind](parameter, text))
            except ValueError as error:
                faults.append(Fault(name, str(error)))
            if len(found) == parameter.many + 1:
                times = "once" if parameter.many == 1 else f"at most {parameter.many} times"
                faults.append(Fault(name, f"It may be given {times}."))
        filters = Filters(
            tuple(values.get("category", ())),
            tuple(values.get("brand", ())),
            _first(values, "lowest_price"),
            _first(values, "highest_price"),
            tuple(values.get("exclude", ())),
        )
        if (filters.lowest_price or 0) > (math.inf if filters.highest_price is None else filters.highest_price):
            faults.append(Fault("highest_price", "It is below lowest_price."))
        if faults:
            raise RefusedRequestError(faults)
        return ListQuery(
            _first(values, "placement"),
            _first(values, "user"),
            _first(values, "session"),
            _first(values, "k"),
            _first(values, "offset", 0),
            tuple(values.get("context", ())),
            filters,
            _first(values, "format", "json"),
            {"true": True, "false": False}.get(_first(values, "consent", "")),
            urlencode([(name, text) for name, text in pairs if name != "offset"]),
            _first(values, "q"),
            tuple(values.get("item", ())),
        )


def _pairs(query: bytes, faults: list[Fault]) -> Iterable[tuple[str, str]]:
    """Yield names and values, decoded once."""
    for part in query.split(b"&"):
        if not part:
            continue
        name, _, text = part.partition(b"=")
        try:
            yield _decoded(name), _decoded(text)
        except UnicodeDecodeError:
            faults.append(Fault("query", "A parameter is not UTF-8."))


def _decoded(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode()


def _first(values: Mapping[str, list[Any]], name: str, otherwise: Any = None) -> Any:
    """Return the only value of a parameter; a refused one leaves its list empty."""
    found = values.get(name)
    return found[0] if found else otherwise


def _text(parameter: Parameter, text: str) -> str:
    try:
        checked_id(text)
    except ValueError as error:
        raise ValueError(str(error).replace("The id", "The value").replace("An id", "A value")) from None
    if parameter.name == "placement" and not _PLACEMENT.match(text):
        raise ValueError("The name of a placement has lower-case letters, digits and hyphens.")
    return text


def _count(parameter: Parameter, text: str) -> int:
    if not _COUNT.fullmatch(text) or not parameter.lowest <= int(text) <= parameter.highest:
        raise ValueError(f"Give a whole number from {parameter.lowest:g} to {parameter.highest:g}.")
    return int(text)


def _amount(parameter: Parameter, text: str) -> float:
    if not _AMOUNT.fullmatch(text) or not parameter.lowest <= float(text) <= parameter.highest:
        raise ValueError(f"Give a number from {parameter.lowest:g} to {parameter.highest:g}, such as 9.99.")
    return float(text)


def _choice(parameter: Parameter, text: str) -> str:
    if text not in parameter.choices:
        raise ValueError(f"Give one of {', '.join(parameter.choices)}.")
    return text


_READERS: Final[dict[str, Callable[[Parameter, str], Any]]] = {
    "id": _text,
    "text": _text,
    "count": _count,
    "amount": _amount,
    "choice": _choice,
}
