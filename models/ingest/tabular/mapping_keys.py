"""Define the keys that every table of a mapping has, and the sources of keys: columns or expressions.

DuckDB parses the text of an expression but does not execute it.
"""

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, model_validator

from models.ingest.tabular import expression_compiler
from models.ingest.tabular.numbers import NumberForm
from models.ingest.tabular.sql_cursor import SqlKeys
from models.primitives.arrow_sql import literal, query
from models.primitives.json_types import JsonObject

Kind = Literal["number", "text", "condition"]
"""The kind of value that a key of a mapping needs from an expression."""
LONGEST: Final = 2_000
DEEPEST: Final = 40
_TOO_DEEP: Final = f"the expression is nested too deeply; {DEEPEST} operations within each other are the most"
_HINT: Final = "write texts in 'single quotes', and column names with spaces or such as \"order\" in double quotes"


@dataclass(frozen=True)
class Expression:
    """A checked expression, with the kind of its value and the source columns that it reads."""

    text: str
    kind: Kind
    columns: tuple[str, ...]
    name: str = ""
    """The name of the result if it becomes an attribute."""

    @property
    def column(self) -> str:
        """Return the name of the computed column, which no column of a file is likely to have."""
        return f"the {self.kind} {self.text}"

    def sql(self, decimal: str, *, finite: bool = True) -> str:
        """Return the expression over the columns `t0`, `n0`, `t1` …: texts and numbers of `columns` by position."""
        return expression_compiler.compiled(tree(self.text), self.kind, decimal, finite=finite)[0]


def parse(text: Any, kind: Kind, name: str = "") -> Expression:
    """Check an expression as far as that is possible without rows. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("an expression is a text; write it in quotes")
    statement, columns = expression_compiler.compiled(tree(text), kind, ".")
    expression_compiler.try_out(statement, len(columns))
    return Expression(text, kind, columns, name)


def tree(text: str) -> JsonObject:
    """Return the nodes of one expression. Raises ValueError for anything else, such as FROM or a second statement."""
    if len(text) > LONGEST:
        raise ValueError(f"an expression has {LONGEST:,} characters at most, and this one has {len(text):,}")
    if not text.strip():
        raise ValueError('an expression is empty; write one such as "Quantity * Price"')
    selected, others = _parsed(text)
    if len(selected) != 1 or others != _parsed("1")[1] or selected[0]["alias"]:
        raise ValueError("this is more than one expression; write nothing but the expression itself")
    _check_depth(selected[0])
    return selected[0]


def _parsed(text: str) -> tuple[list[JsonObject], JsonObject]:
    """Return the selected nodes, and the rest of the statement."""
    try:
        text_of_tree = query(f"SELECT json_serialize_sql({literal(f'SELECT {text}')}) AS parsed")["parsed"][0].as_py()
        parsed = json.loads(text_of_tree)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if parsed["error"]:
        raise ValueError(f"the expression cannot be read ({parsed['error_message']}); {_HINT}")
    if len(parsed["statements"]) != 1:
        raise ValueError("this is more than one statement; write nothing but the expression itself")
    node = parsed["statements"][0]["node"]
    selected = node.pop("select_list", [])
    node.pop("query_location", None)
    return selected, node


def _check_depth(node: JsonObject) -> None:
    layer: list[JsonObject | list[Any]] = [node]
    for _ in range(DEEPEST * 4):  # one operation is up to four layers of lists and objects
        values = [list(part.values()) if isinstance(part, dict) else part for part in layer]
        layer = [child for inner in values for child in inner if isinstance(child, dict | list)]
        if not layer:
            return
    raise ValueError(_TOO_DEEP)


_FORMS = 'write the name of a column in quotes, or { expr = "…" }'


def _written(value: Any) -> Any:
    """Return a source in the form of the mapping file."""
    if isinstance(value, list):
        return [_written(one) for one in value]
    if isinstance(value, Expression):
        return {"expr": value.text} | ({"name": value.name} if value.name else {})
    return value


def _source(value: Any, kind: Kind, *, with_name: bool = False) -> str | Expression:
    if isinstance(value, Expression):
        return value
    if isinstance(value, str):
        if not value:
            raise ValueError(f"the name of a column is empty; {_FORMS}")
        return value
    if not isinstance(value, Mapping):
        raise ValueError(_FORMS)
    keys = {"expr", "name"} if with_name else {"expr"}
    if set(value) != keys:
        form = '{ name = "…", expr = "…" }' if with_name else '{ expr = "…" }'
        raise ValueError(f"write an expression as {form}")
    name = value.get("name", "")
    if with_name and not (isinstance(name, str) and name):
        raise ValueError("the name of an attribute is a text; write it in quotes")
    return parse(value["expr"], kind, name)


def _sources(value: Any) -> str | Expression | list[str | Expression]:
    if value == []:
        raise ValueError("the list is empty; name a column")
    return [_source(one, "text") for one in value] if isinstance(value, list) else _source(value, "text")


def _condition(value: Any) -> Expression:
    return value if isinstance(value, Expression) else parse(value, "condition")


def _marks(value: Any) -> list[str | Expression]:
    """Return beginnings of category paths as texts, and conditions; a text by itself is a condition."""
    if isinstance(value, str):
        return [parse(value, "condition")]
    if not isinstance(value, list):
        raise ValueError('write an expression in quotes, or a list of category paths and { expr = "…" }')
    return [one if isinstance(one, str) else _source(one, "condition") for one in value]


_AS_WRITTEN = PlainSerializer(_written)
Source = Annotated[str | Expression, PlainValidator(lambda value: _source(value, "text")), _AS_WRITTEN]
"""A column of texts, times or ids, or an expression."""
NumberSource = Annotated[str | Expression, PlainValidator(lambda value: _source(value, "number")), _AS_WRITTEN]
"""A column of numbers, or an expression."""
Sources = Annotated[str | Expression | list[str | Expression], PlainValidator(_sources), _AS_WRITTEN]
"""A source, or several whose values are joined."""
AttributeSource = Annotated[
    str | Expression, PlainValidator(lambda value: _source(value, "text", with_name=True)), _AS_WRITTEN
]
"""A column under its own name, or an expression with a name."""
Condition = Annotated[Expression, PlainValidator(_condition), PlainSerializer(lambda value: value.text)]
"""An expression that is true or false."""
Marks = Annotated[list[str | Expression], PlainValidator(_marks), _AS_WRITTEN]
"""Beginnings of category paths, and expressions that are true or false."""


def listed(value: Any) -> list[str | Expression]:
    """Return the sources that a key names."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def columns_of(sources: Iterable[str | Expression]) -> list[str]:
    """Return the columns of the file that these sources read, each once."""
    names = (name for one in sources for name in ([one] if isinstance(one, str) else one.columns))
    return list(dict.fromkeys(names))


def column_of(source: str | Expression) -> str:
    """Return the column that holds the values of a source after expressions are computed."""
    return source if isinstance(source, str) else source.column


def attribute_of(source: str | Expression) -> str:
    """Return the name of an attribute."""
    return source if isinstance(source, str) else source.name


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(f"there is no encoding {name!r}; write a name such as utf-8, windows-1252 or utf-16") from None


class FillDown(BaseModel):
    """Columns that only the first of consecutive rows with one key fills, such as the first line of an order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    within: str = Field(min_length=1)
    """The column with the key: rows that follow each other with the same value, or with none, belong together."""
    columns: tuple[str, ...] = Field(min_length=1)
    """The columns whose empty cells take the value of the row above."""


USUAL_YES: Final = ("true", "t", "yes", "y", "1", "given", "granted")


class TableMapping(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str | list[str] = []
    """Below the location: a name, a glob, a folder, or a list of them. Needed, unless the rows are in a
    database."""
    encoding: Annotated[str, AfterValidator(_encoding)] | None = None
    """The character encoding of a CSV file, such as utf-8, windows-1252 or utf-16; detected by default."""
    separator: str = Field(",", min_length=1, max_length=1)
    """The character between the values of a CSV file."""
    skip_lines: int = Field(0, ge=0, le=1_000)
    """The number of lines above the column names of a CSV file, such as a title."""
    decimal: Literal[".", ","] = "."
    """The decimal sign in numbers that are text."""
    thousands: Literal["", ",", ".", " ", "'", "_", "\N{RIGHT SINGLE QUOTATION MARK}"] = ""
    """The sign between groups of three digits in numbers that are text; a space may be a no-break one."""
    currency_signs: list[Annotated[str, Field(min_length=1, max_length=12)]] = []
    """Texts that may precede or follow a number, such as € or EUR."""
    optional: list[str] = []
    """Source columns that some files lack; a missing column is read as empty."""
    fill_down: FillDown | None = None
    """Columns that only the first row of an order states: within its rows, an empty cell takes the value of the row
    above. A row without a key belongs to the row above."""
    unnest: str | None = Field(None, min_length=1)
    """The list within each object of a JSON file, such as `variants`, whose elements become rows. Their fields are
    columns such as `variants.sku`, and those of the object are repeated."""
    where: Condition | None = None
    """Reads only rows for which this is true; the others are counted as routed."""
    sql: SqlKeys | None = None
    """The same part in a database."""

    texts: ClassVar[tuple[str, ...]]
    """The keys that name columns of ids or words, in the order in which they are read."""
    numbers: ClassVar[tuple[str, ...]]
    """The keys that name columns of numbers."""
    mandatory: ClassVar[tuple[str, ...]]
    """The keys whose columns every file must have."""
    moments: ClassVar[tuple[str, ...]]
    """The keys that name columns of times."""

    if TYPE_CHECKING:
        time_format: str | list[str]
        # Each part declares it at its own position, because the names of batches depend on the order of keys.

    @property
    def needed(self) -> tuple[str, ...]:
        """Return the keys whose columns every file must have."""
        return self.mandatory

    @property
    def time_formats(self) -> list[str]:
        """Return the time formats in the order in which they are tried."""
        return [self.time_format] if isinstance(self.time_format, str) else self.time_format

    @property
    def form(self) -> NumberForm:
        """Return the form of numbers that are written as text."""
        return NumberForm(self.decimal, self.thousands, tuple(self.currency_signs))

    def sources(self, keys: tuple[str, ...]) -> list[str | Expression]:
        """Return the columns and expressions that these keys name."""
        return [source for key in keys for source in listed(getattr(self, key))]

    def direct_columns(self, keys: tuple[str, ...]) -> list[str]:
        """Return the columns of the file that these keys name directly, each once."""
        return list(dict.fromkeys(source for source in self.sources(keys) if isinstance(source, str)))

    @property
    def conditions(self) -> list[Expression]:
        """Return the expressions that select or mark rows."""
        return [self.where] if self.where else []

    @property
    def read(self) -> list[str]:
        """Return the columns of the file that this part reads, each once."""
        key = [self.fill_down.within] if self.fill_down else []
        return columns_of([*self.sources(self.texts + self.numbers), *self.conditions, *key])

    @property
    def dated(self) -> list[str]:
        """Return the columns whose values count from the time of their row."""
        return []

    @property
    def expressions(self) -> list[Expression]:
        """Return the expressions that replace columns."""
        return [one for one in self.sources(self.texts + self.numbers) if isinstance(one, Expression)]

    @property
    def fillable(self) -> list[str]:
        """Return the keys and attributes whose null values `fill` can replace."""
        return []

    def faults(self) -> Iterator[str]:
        """Yield the faults of keys that do not fit each other."""
        required, fill, constants = (getattr(self, name, {}) for name in ("required", "fill", "constants"))
        yield from self._file_faults()
        if self.thousands == self.decimal:
            yield f"thousands and decimal are both {self.decimal!r}; a number would be ambiguous"
        needed, others = self.direct_columns(self.needed), set(self.optional).difference(self.read)
        yield from (
            f"the column {one!r} is needed in every row and cannot be optional"
            for one in needed
            if one in self.optional
        )
        yield from (f"optional names {one!r}, which no other key of this part reads" for one in others)
        yield from (
            f"{name} is given twice, as a column and in constants; keep one"
            for name in constants
            if getattr(self, name)
        )
        for name in required:
            if not getattr(self, name):
                yield f"required names {name!r}, which no column is read for; name its column"
            if name in fill:
                yield f"{name} is filled and required; keep one: a constant, or quarantine"
        for name, constant in fill.items():
            if name not in self.fillable:
                known = ", ".join(self.fillable) or "keys, once their columns are named"
                yield f"fill names {name!r}, which it cannot fill here; it can fill: {known}"
            if name in self.numbers and isinstance(constant, str):
                yield f"fill.{name} has to be a number; write it without quotes"
            if name == "currency" and not isinstance(constant, str):
                yield "fill.currency has to be a currency code in quotes"

    def _file_faults(self) -> Iterator[str]:
        if self.fill_down and (unread := [one for one in self.fill_down.columns if one not in self.read]):
            yield f"fill_down names {unread[0]!r}, which no other key of this part reads"
        if (self.fill_down or self.unnest) and not self.file:
            yield "fill_down and unnest are for files; name them as file"

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        for fault in self.faults():
            raise ValueError(fault)
        return self


class FilledMapping(TableMapping):
    fill: dict[str, str | int | float] = {}
    """Constants for null values. `<name>_imputed` among the attributes marks each replaced value."""

    @property
    def fillable(self) -> list[str]:
        """Return the keys and attributes whose null values `fill` can replace."""
        own = [key for key in ("category", "brand", "price") if getattr(self, key, None) is not None]
        return [*own, *map(attribute_of, listed(getattr(self, "attributes", None)))]
