"""Write docs/mapping.md from the models of mappings: `python -m docs.generators.mapping_page > docs/mapping.md`."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.generators.mapping_examples import EXAMPLES
from infra.overview.settings_template import descriptions
from models.ingest import batch_limits, source_config
from models.ingest.draft.mapping_text import toml
from models.ingest.mixpanel import MixpanelMapping
from models.ingest.segment import segment_mapping as segment_mapping
from models.ingest.tabular import table_mapping
from models.ingest.tabular.mapping_keys import Expression
from models.ingest.tabular.sql_cursor import SqlKeys

_OPENING: Final = """\
# Mappings

Look up every key of a mapping. A mapping is a TOML file that states which columns of a source become events, items and
users. The shortest way is to generate a first one from the files, check it, then ingest:

```sh
tailorbird init --from orders.csv products.csv customers.csv --to my_shop.toml
tailorbird check my_shop.toml
tailorbird ingest my_shop.toml
```

`python -m docs.generators.mapping_page > docs/mapping.md` generates this page from the models in `models/ingest/`; do
not edit it by hand. [ingestion.md](ingestion.md) explains what mappings do, with
[expressions](ingestion.md#expressions) in full.

- A *column* is a name in quotes, as in the first line of the file. A key that takes a column also accepts
  `{ expr = "…" }`.
- *Needed* keys have no default. If the default is *none* and you omit the key, nothing is read for it.
- An unknown key is an error; the message lists the existing keys.
"""
_SEGMENT: Final = """\
A Segment export needs no columns: its calls have a fixed shape. These keys are in addition to those of every mapping;
`kind` distinguishes it from a mapping of tables.
"""
_MIXPANEL: Final = """\
Events and profiles of Mixpanel have a fixed shape, too; [mixpanel.md](mixpanel.md) leads through an import.
"""
_LINES: Final = ("segment", "mixpanel")
SECTIONS: Final[tuple[tuple[str, str, type[BaseModel], str], ...]] = (
    ("Every mapping", "", source_config.SourceMapping, "Write these keys at the top of the file, before any table."),
    (
        "Mappings of tables",
        "tables",
        table_mapping.Mapping,
        "Write these keys at the top, too. At least one of the three tables is needed.",
    ),
    ("[events]", "events", table_mapping.EventsMapping, "One row for each event, with one item each."),
    ("[items]", "items", table_mapping.ItemsMapping, "The catalogue."),
    (
        "[users]",
        "users",
        table_mapping.UsersMapping,
        "Traits and consent of users. Only the attributes that are named here are stored.",
    ),
    (
        "[events.sql], [items.sql], [users.sql]",
        "sql",
        SqlKeys,
        "Where the rows of a part are in a database, for `tailorbird ingest sql` ([sql.md](sql.md)).",
    ),
    ("[traffic]", "traffic", source_config.Traffic, "Events of robots and of your own staff wait in quarantine."),
    ("[spelling]", "spelling", source_config.Spelling, "Corrections for other spellings of the same word."),
    ("[limits]", "limits", batch_limits.Limits, "Limits of single events, and bounds for the figures of a batch."),
    ("Segment exports", "segment", segment_mapping.SegmentMapping, _SEGMENT),
    ("Mixpanel", "mixpanel", MixpanelMapping, _MIXPANEL),
)
_WORDS: Final[Mapping[Any, str]] = MappingProxyType(
    {
        str: "text",
        bool: "true or false",
        int: "number",
        float: "number",
        datetime: "date or time",
        Expression: "expression",
    }
)


def document() -> str:
    """Return the whole page, Markdown."""
    return "\n".join([_OPENING, *(_section(*one) for one in SECTIONS)])


def keys(table: str, model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a table of a mapping by their keys in the file."""
    above = set(source_config.SourceMapping.model_fields) if table in ("tables", *_LINES) else set()
    return {
        field.alias or name: field
        for name, field in model.model_fields.items()
        if name not in above or (table in _LINES and name == "unknown_items")
    }


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return the meanings of the keys of a model, which are the texts below its fields."""
    texts: dict[str, str] = {}
    for parent in reversed(model.__mro__):
        if issubclass(parent, BaseModel) and parent is not BaseModel:
            texts |= descriptions(parent)
    return texts


def _section(title: str, table: str, model: type[BaseModel], about: str) -> str:
    texts = meanings(model)
    names = {field.alias or name: name for name, field in model.model_fields.items()}
    rows = [_row(table, key, field, texts.get(names[key], "")) for key, field in keys(table, model).items()]
    head = ["| key | meaning | type | default | example |", "|---|---|---|---|---|"]
    return "\n".join([f"## {title}", "", about.rstrip(), "", *head, *rows, ""])


def _row(table: str, key: str, field: FieldInfo, meaning: str) -> str:
    default = "the file's name" if (table, key) == ("", "name") else _default(field)
    return table_row(f"`{key}`", meaning, _type(field.annotation), default, f"`{EXAMPLES.get((table, key), '')}`")


def table_row(*cells: str) -> str:
    """Return a row of a Markdown table; each cell becomes one line."""
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel) or value in ([], {}, ""):
        return "none"
    return f"`{toml(value)}`"


def _type(kind: Any) -> str:
    """Return the type of a key in words."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of([one for one in inside if one is not NoneType])
    if origin is Literal:
        return " or ".join(f"`{toml(value)}`" for value in inside)
    if origin is list:
        return f"list of {_type(inside[0])}"
    if origin is dict:
        return f"table: {_type(inside[0])} = {_type(inside[1])}"
    if origin is tuple:
        return "highest, or [lowest, highest]"
    if origin is not None and inside:  # Annotated
        return _type(inside[0])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "table"
    return _WORDS.get(kind, "text")


def _one_of(kinds: list[Any]) -> str:
    """Return alternatives in words; a text beside an expression is the name of a column."""
    tables = [get_args(one)[1] for one in kinds if get_origin(one) is dict]
    if len(kinds) > 1 and tables and tables[0] in kinds:  # one word for all, or a word each
        return f"{_type(tables[0])}, or a table of them"
    words = ["column" if one is str and Expression in kinds else _type(one) for one in kinds]
    lists = [get_args(one)[0] for one in kinds if get_origin(one) is list]
    words = ["list of them" if word.startswith("list of") and lists and len(kinds) > 1 else word for word in words]
    return " or ".join(dict.fromkeys(words))


if __name__ == "__main__":
    print(document(), end="")
