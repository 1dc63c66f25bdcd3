"""Identifies events: pseudonyms, ids and hashes; and finds those that the lake already has.

They are found by hashes in memory, and exactly only where a hash matches.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.keys.identity import pseudonyms, pseudonyms_of
from infra.lake.delta_lake import Lake
from models import columns
from models.columns import ROW
from models.datasets.labels import IMPRESSION
from models.ingest.canonical_schema import IS_DEVICE
from models.ingest.mixpanel import MIXPANEL_EVENT
from models.ingest.source_config import SourceMapping, marked
from models.ingest.tabular import transform
from models.ingest.tabular.unreadable_cells import CELL, CELLS, KEYS, protected
from models.primitives.arrow_sql import query, texts
from models.primitives.distinct import distinct

USER_CODE: Final = "user_code"
EARLIER_HASH: Final = "earlier_hash"
"""The hash of the same event of a device before devices got keys of their own; null for other events."""
KEY_HASH: Final = "key_hash"
EARLIER_USER, EARLIER_SESSION = f"earlier_{columns.USER_KEY}", f"earlier_{columns.SESSION_ID}"
"""The keys that devices and their sessions had before they differed from those of users with the same id."""
PAYLOAD_COLUMNS: Final = (
    *(columns.EVENT_ID, columns.USER_KEY, columns.SESSION_ID, columns.ITEM_ID, columns.EVENT_TYPE),
    *(columns.OCCURRED_AT, columns.QUANTITY, columns.VALUE, columns.CURRENCY, columns.RATING),
    *(columns.PLACEMENT, columns.POSITION, columns.RECOMMENDATION_ID),
)
"""The columns that make two events the same; consent and the time of receipt may differ."""
_OPTIONAL: Final = {
    columns.CONSENT: pa.bool_(),
    columns.AUTHORITY: pa.string(),
    columns.RECEIVED_AT: pa.timestamp("us", tz="UTC"),
    KEYS: pa.string(),
    CELLS: pa.list_(CELL),
}
ID_HASH: Final = "id_hash"
"""A hash of the event id, which is valid only in this process; impressions of one answer share its upper bits."""
_LOWER: Final = 12
"""The bits that tell the impressions of an answer apart."""
_ANSWER: Final = f"""
    CASE WHEN {columns.EVENT_TYPE} = '{IMPRESSION}' THEN split_part({columns.EVENT_ID}, '#', 1)
    ELSE {columns.EVENT_ID} END"""
ID_HASHED: Final = f"""
    ((hash({_ANSWER}) >> {_LOWER}) << {_LOWER}) | (hash({columns.EVENT_ID}) & {2**_LOWER - 1}::UBIGINT)"""
"""SQL of that hash. Most events are impressions, whose ids are that of the answer, `#` and the position: a set of upper
bits holds one number for an answer instead of one for each of its items."""

Hashes = NDArray[np.uint64]


@dataclass
class HashSet:
    """A growing set of 64-bit hashes, in sorted layers, each less than half as long as the one before.

    Adding and searching stay cheap (the logarithmic method of Bentley and Saxe, 1980).
    """

    _layers: list[Hashes] = field(default_factory=list)

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Return for each hash whether the set has it; one in 10^11 is wrong among a hundred million."""
        order = np.argsort(hashes, kind="stable")  # nearly free for sorted hashes, and speeds up the search
        ordered, matches = hashes[order], np.zeros(len(hashes), bool)
        for layer in self._layers:
            at = np.minimum(np.searchsorted(layer, ordered), len(layer) - 1)
            matches |= layer[at] == ordered
        contained = np.empty(len(hashes), bool)
        contained[order] = matches
        return contained

    def add(self, hashes: Hashes) -> None:
        """Add hashes to the set; they may repeat."""
        if not len(hashes):
            return
        self._layers.append(distinct(hashes))
        while len(self._layers) > 1 and 2 * len(self._layers[-1]) > len(self._layers[-2]):
            merged = np.concatenate([self._layers.pop(-2), self._layers.pop()])
            merged.sort(kind="stable")  # merges the sorted layers
            self._layers.append(merged)


@dataclass
class _FileHashes:
    """The upper bits of the ids in some of a lake's files. Delta never changes a written file."""

    files: set[str] = field(default_factory=set)
    hashes: HashSet = field(default_factory=HashSet)


_CACHE: Final[dict[str, _FileHashes]] = {}
"""By lake, for the lifetime of the process: a run of many files reads every id once."""


def _stored_hashes(lake: Lake) -> HashSet:
    """Return the upper bits of all ids of the lake, and maybe of removed ones; only new files are read."""
    paths, cached = set(lake.event_files()), _CACHE.get(lake.root)
    if cached is None or 2 * len(cached.files & paths) < len(cached.files):  # compacted since
        cached = _CACHE[lake.root] = _FileHashes()
    if new := sorted(paths - cached.files):
        cached.hashes.add(hashes(f"read_parquet({texts(new)})", _ANSWER) >> np.uint64(_LOWER))
        cached.files |= paths
    return cached.hashes


@dataclass
class KnownIds:
    """The ids of the lake's events."""

    lake: Lake
    _own: HashSet = field(default_factory=HashSet)

    def __post_init__(self) -> None:
        """Read the ids of the lake."""
        self._stored_before = _stored_hashes(self.lake)

    def may_contain(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Return for each `ID_HASH` whether the lake may have its id; False is certain."""
        answers: Hashes = hashes >> np.uint64(_LOWER)
        return self._stored_before.contains(answers) | self._own.contains(answers)

    def matching(self, rows: pa.Table) -> pa.Table:
        """Return the ids and payload hashes that the lake has for the ids of these rows.

        A repeated event mostly has the same time, so its month is searched first.
        """
        if not len(rows):
            return self._stored(rows, [])
        months = pc.unique(rows[columns.MONTH]).to_pylist()
        matches = self._stored(rows, self.lake.event_files(months=months))
        missing = rows.filter(pc.invert(pc.is_in(rows[columns.EVENT_ID], matches[columns.EVENT_ID].combine_chunks())))
        if not len(missing):
            return matches
        return pa.concat_tables([matches, self._stored(missing, self.lake.event_files())])

    def _stored(self, rows: pa.Table, paths: list[str]) -> pa.Table:
        ids = rows.select([columns.EVENT_ID, columns.PAYLOAD_HASH])
        if not paths or not len(rows):
            return ids.slice(0, 0)
        stored = f"read_parquet({texts(paths)})"
        return query(f"SELECT event_id, payload_hash FROM {stored} SEMI JOIN rows USING (event_id)", rows=ids)

    def add(self, stored: Hashes) -> None:
        """Add each `ID_HASH` of rows that were stored."""
        self._own.add(stored >> np.uint64(_LOWER))


def hashes(source: str, name: str, **tables: pa.Table) -> Hashes:
    """Return the hashes of a column, or of another expression."""
    result: Hashes = query(f"SELECT hash({name}) AS hash FROM {source}", **tables)["hash"].to_numpy()
    return result


def pseudonymise(rows: pa.Table, key: bytes) -> tuple[pa.Table, pa.Table]:
    """Return the rows with `user_key` instead of `user_id`, and their users: `user_id`, `user_key` and its hash.

    `user_code` is the position of a row's user in that table, -1 if there is none: numbers compare faster than keys.
    A device has no `user_id` there, because nobody asks for it by that id.
    """
    ids, nobody = rows[columns.USER_ID].combine_chunks().cast(pa.string()), pa.scalar(None, pa.string())
    has_devices = IS_DEVICE in rows.column_names and pc.any(rows[IS_DEVICE]).as_py()
    if has_devices:
        kinds = pc.if_else(pc.fill_null(rows[IS_DEVICE].combine_chunks(), False), "d", "u")
        ids = pc.binary_join_element_wise(kinds, ids, "")
    coded = ids.dictionary_encode()
    ids, is_device = coded.dictionary, pa.repeat(False, len(coded.dictionary))
    if has_devices:
        ids, is_device = pc.utf8_slice_codeunits(ids, 1), pc.starts_with(ids, "d")
    keys = pseudonyms_of(ids, is_device, key)
    names = pa.table({columns.USER_ID: pc.if_else(is_device, nobody, ids), columns.USER_KEY: keys})
    names = names.append_column(KEY_HASH, pa.array(hashes("names", columns.USER_KEY, names=names), pa.uint64()))
    used = [name for name in (columns.USER_ID, IS_DEVICE) if name in rows.column_names]
    keyed = rows.drop_columns(used).add_column(0, columns.USER_KEY, keys.take(coded.indices))
    if CELLS in keyed.column_names:
        cells = protected(keyed[CELLS].combine_chunks(), ids)
        keyed = keyed.set_column(keyed.column_names.index(CELLS), CELLS, cells)
    if has_devices:
        earlier = pseudonyms(pc.if_else(is_device, ids, nobody), key).take(coded.indices)
        keyed = keyed.append_column(EARLIER_USER, earlier)
    return keyed.append_column(USER_CODE, pc.fill_null(coded.indices, -1)), names


def add_fingerprints(events: pa.Table) -> pa.Table:
    """Add `payload_hash` (128 bits of SHA-256 over the payload columns), the hash of the id, and the month.

    The payload of Mixpanel's events is their id, so that no two with the same id differ. An event of a device gets the
    `earlier_hash` too, which it had before devices got keys of their own.
    """
    earlier = {columns.USER_KEY: EARLIER_USER, columns.SESSION_ID: EARLIER_SESSION}
    known = {name: own for name, own in earlier.items() if own in events.column_names}
    payload = events.select([*PAYLOAD_COLUMNS, *known.values()])
    replaced = {name: f"coalesce({own}, {name})" for name, own in known.items()}
    is_changed = " OR ".join(f"{own} IS NOT NULL" for own in known.values()) or "false"
    hashed = query(
        f"""
        SELECT {_hash_of({})} AS {columns.PAYLOAD_HASH},
            CASE WHEN {is_changed} THEN {_hash_of(replaced)} END AS {EARLIER_HASH},
            {ID_HASHED} AS {ID_HASH}, strftime({columns.OCCURRED_AT}, '%Y-%m') AS {columns.MONTH}
        FROM payload
        """,
        payload=payload,
    )
    events = events.drop_columns(list(known.values()))
    for name in hashed.column_names:
        events = events.append_column(name, hashed[name])
    return events


def _hash_of(replaced: Mapping[str, str]) -> str:
    """Return SQL for the hash of an event's payload, with other values in place of some columns."""
    texts = ", ".join(f"coalesce({_text(name, replaced.get(name, name))}, '')" for name in PAYLOAD_COLUMNS)
    return f"""left(sha256(CASE WHEN starts_with({columns.EVENT_ID}, '{MIXPANEL_EVENT}') THEN {columns.EVENT_ID}
        ELSE concat_ws(chr(31), {texts}) END), 32)"""


def _text(name: str, value: str) -> str:
    return f"{f'epoch_us({value})' if name == columns.OCCURRED_AT else value}::varchar"


def prepare_events(
    rows: pa.Table, mapping: SourceMapping, key: bytes, numbers: NDArray[np.int64], *, identified: bool = True
) -> tuple[pa.Table, pa.Table]:
    """Return events ready for `triage_events`, with their `numbers` in the file, and the table of their users.

    Unless they are `identified`, each gets an id made of its values.
    """
    events, names = pseudonymise(marked(rows, mapping.traffic), key)
    if not identified:
        events = transform.identified(events)
    for name, kind in _OPTIONAL.items():
        if name not in events.column_names:
            events = events.append_column(name, pa.nulls(len(events), kind))
    return add_fingerprints(events).append_column(ROW, pa.array(numbers)), names
