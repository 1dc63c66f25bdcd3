"""A mapping file with any content is read, or refused in a sentence."""

from contextlib import suppress
from datetime import date, datetime, time, timedelta, timezone
from math import inf, nan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import TailorbirdError
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.tabular import transform
from models.ingest.tabular.duplicate_rows import chosen
from models.ingest.tabular.table_mapping import EventsMapping, ItemsMapping, Mapping, UsersMapping
from models.primitives.json_types import JsonObject
from tasks.sources.mapping_files import SHIPPED, read
from tests.examples import spread

PARTS = {"events": EventsMapping, "items": ItemsMapping, "users": UsersMapping}
WORDS = [
    "", " ", "\0", "a", "b", "at", "*", "**/*", "[", "(a+)+$", "%Y-%m-%d", "%", "%Q", "%s%s%s", "timestamp", "epoch_ms",
    "Europe/Berlin", "Mars/Olympus", "../x", "utf-16", "EUR", "given", "opt-in", "10.0.0.0/8", "1.2.3.4/99", "::1",
    "latest", "a = 1", "number(a) > 1 and b is null", "sum(a)", "a; b", "((((",
    "view", "2024-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "x" * 3000, "'", '"',
]  # fmt: skip
SCALARS = (
    st.sampled_from(WORDS)
    | st.text(max_size=6)
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([2**70, -(2**70), 10**400, None])
    | st.datetimes()
    | st.dates()
    | st.times()
)


def keys(model: Any) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def names(model: Any) -> st.SearchStrategy[str]:
    return st.sampled_from(keys(model)) | st.sampled_from(WORDS)


VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*WORDS, "quantity", "currency", "event_type"]), inner, max_size=3)
    ),
    max_leaves=5,
)
SOUND: JsonObject = {
    "consent": "given",
    "consent_note": "a test",
    "events": {
        "file": "*.csv",
        "user_id": "a",
        "item_id": "b",
        "occurred_at": "at",
        "value": "v",
        "event_type": "what",
    },
    "items": {"file": "i.csv", "item_id": "a", "title": "b", "category": ["a"]},
    "users": {"file": "u.csv", "user_id": "a", "attributes": ["b"]},
}
ROWS = pa.table({name: pa.array(["1", "x", None], pa.string()) for name in ("a", "b", "at", "v", "what")})


@st.composite
def contents(draw: st.DrawFn) -> JsonObject:
    """Draw a valid mapping with some keys changed, or arbitrary content."""
    if not draw(st.integers(0, 9)):
        return draw(st.dictionaries(names(Mapping), VALUES, max_size=4))
    content = {key: dict(value) if isinstance(value, dict) else value for key, value in SOUND.items()}
    for _ in range(draw(st.integers(1, 3))):
        part = draw(st.sampled_from([*PARTS, ""]))
        place, model = (content[part], PARTS[part]) if part else (content, Mapping)
        if isinstance(place, dict):
            place[draw(names(model))] = draw(VALUES)
    return content


def tried(content: JsonObject) -> None:
    """Read a mapping and a table by it; a mistake must be an error for users."""
    with suppress(TailorbirdError):
        if content.get("kind") == "segment":
            SegmentMapping.parse(content, "fuzz")
            return
        mapping = Mapping.parse(content, "fuzz")
        if mapping.events:
            missing = [name for name in mapping.events.read if name not in ROWS.column_names]
            table = pa.table({**{name: ROWS[name] for name in ROWS.column_names}, **dict.fromkeys(missing, ROWS["a"])})
            transform.selected(table, mapping.events)
            transform.events(table, mapping.events, mapping.spelling)
        if mapping.items and set(mapping.items.read) <= set(ROWS.column_names):
            chosen(transform.items(ROWS, mapping.items, mapping.spelling).rows, "item_id", mapping.items.choices)


ODD = [
    *WORDS, True, 0, -1, 2**70, 10**400, nan, inf, 1e308, datetime.min, datetime.max, date.max, time.max, [], {}, ["a"],
    ["a", "a"], [[]], [1], {"a": "b"}, {"a": {}}, {"a": 1}, {"quantity": inf}, {"expr": "a"},
    {"expr": "a * 2 > v", "name": "n"}, [{"expr": "if(v > 1, 'x', a)"}, "b"], [{"name": "n", "expr": "a || b"}],
    {"expr": {"expr": "a"}}, {"expr": 1}, {"title": "latest"}, {"events": {"x": [10**400, 1]}},
    datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))), datetime.min.replace(tzinfo=timezone.max),
]  # fmt: skip
PLACES = [
    *((part, name) for part, model in PARTS.items() for name in keys(model)),
    *(("", name) for name in keys(Mapping)),
    *(("segment", name) for name in keys(SegmentMapping)),
]


@pytest.mark.parametrize(("part", "name"), PLACES)
def test_every_key_is_read_or_refused_whatever_it_holds(part: str, name: str) -> None:
    for value in spread(ODD, PLACES.index((part, name))):
        if part == "segment":
            tried({"kind": "segment", "consent": "opt-in", name: value})
        elif part:
            tried(SOUND | {part: SOUND[part] | {name: value}})
        else:
            tried(SOUND | {name: value})


@given(contents())
def test_any_mapping_of_tables_is_read_or_refused(content: JsonObject) -> None:
    tried(content)


@given(st.dictionaries(names(SegmentMapping), VALUES, max_size=5))
def test_any_mapping_of_an_export_is_read_or_refused(content: JsonObject) -> None:
    tried({"kind": "segment", **content})


@given(st.data())
def test_any_bytes_in_a_mapping_file_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    original = data.draw(st.sampled_from([file.read_bytes() for file in sorted(SHIPPED.glob("*.toml"))]))
    at, length = data.draw(st.integers(0, len(original))), data.draw(st.integers(0, 40))
    path.write_bytes(original[:at] + data.draw(st.binary(max_size=30)) + original[at + length :])
    with suppress(TailorbirdError):
        read(str(path))


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 20_000, "a = " + "{a=" * 20_000, "[" + "a." * 20_000 + "a]", "a = " + "9" * 5_000]
)
def test_a_file_that_no_parser_can_hold_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.toml"
    path.write_text(text)
    with pytest.raises(TailorbirdError, match="deep"):
        read(str(path))
