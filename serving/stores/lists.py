"""Reads published lists with their texts: through the cache, and never one from before a change of its user."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from models.lists.rules.layer.rule_layer import RuleLayer, layer_from_json
from serving.http.metrics import BATCH_AGE
from serving.stores.shared_loads import Loaded, SharedLoads, SharedReads, cache_key

if TYPE_CHECKING:
    from serving.stores.changes import Changes
    from serving.stores.postgres import Postgres


_ALL: Final = "SELECT coalesce(array_agg(code), '{{}}'), coalesce(array_agg(text), '{{}}') FROM ({}) AS codes"
# One row of two arrays is decoded in half the time of as many rows.
_ALL_ITEMS: Final = _ALL.format(
    "SELECT item_code AS code, item_id AS text FROM batch_items WHERE batch_id = $1 LIMIT 1000000"
)
_ALL_REASONS: Final = _ALL.format(
    "SELECT reason_code AS code, reason AS text FROM batch_reasons WHERE batch_id = $1 LIMIT 50000"
)
_ITEMS: Final = "SELECT item_code, item_id FROM batch_items WHERE batch_id = $1 AND item_code = ANY ($2)"
_REASONS: Final = "SELECT reason_code, reason FROM batch_reasons WHERE batch_id = $1 AND reason_code = ANY ($2)"
_MOST_REASONS: Final = 100_000
"""Reasons of one batch that are kept; the numbers and dates in them make many different ones."""
_LIVE_BATCHES: Final = (
    "SELECT live.placement, live.batch_id, batch.model_version, batch.operator_rules, "
    "extract(epoch FROM now() - live.checked_at)::float8 AS age "
    "FROM placements AS live JOIN recommendation_batches AS batch ON batch.batch_id = live.batch_id"
)
_SERVED_LISTS: Final = "SELECT * FROM served_lists($1, $2)"
FIRST: Final = (_SERVED_LISTS, [""], [""])
"""Lets a new connection plan the statement."""
_SMALL: Final = 1e-3
Key = tuple[str, str]
"""Placement and subject."""
_ATTEMPTS: Final = 4
_PAUSE_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Standing:
    """The consent and the exclusions of a user at one moment of the database."""

    known: bool
    """Whether the user was ever ingested."""
    consented: bool
    """Whether personal answers are allowed: consent is given, and the user is not suppressed."""
    excluded: tuple[str, ...] = ()
    """Kind and value of each exclusion, such as `item:1082185` or `category:GROCERY|TEA`."""


NOBODY: Final = Standing(known=False, consented=False)
"""The standing of visitors without an account, and of users that the database does not know."""


class Listed(NamedTuple):
    """One subject's published list, and the standing of the user at that moment."""

    standing: Standing
    batch_id: int | None
    """None for a list that a consumer scored after an event: it was made under the present rules."""
    model_version: int | None
    entries: tuple[tuple[str, float, str], ...] | None
    """Item, score and reason, best first; None if there is no list for the subject."""
    read_at: float
    """Epoch seconds of the database's clock."""


class ChangedMeanwhileError(Exception):
    """A user changed again and again while the list was read."""


@dataclass(frozen=True, slots=True)
class CodeTexts:
    """The texts of the codes of one batch."""

    items: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)


class BatchCodes:
    """The texts of the codes of each live batch."""

    def __init__(
        self, requests: "Postgres", background: "Postgres", known: Mapping[int, CodeTexts] = MappingProxyType({})
    ) -> None:
        """Read missing codes through the connections for requests, and whole batches in the background.

        `known` batches are in memory already.
        """
        self._requests, self._background = requests, background
        self.known = dict(known)
        """The texts of all batches in memory."""

    async def load(self, batch_ids: Iterable[int]) -> None:
        """Load the texts of these batches once, and drop those of all others. Raises PostgresDownError."""
        live = set(batch_ids)
        for batch_id in live - self.known.keys():
            items, reasons = await asyncio.gather(
                self._background.fetch(_ALL_ITEMS, batch_id), self._background.fetch(_ALL_REASONS, batch_id)
            )
            self.known[batch_id] = CodeTexts(_by_code(items), _by_code(reasons))
        for batch_id in self.known.keys() - live:
            del self.known[batch_id]

    async def resolve(self, batch_id: int, items: Sequence[int], reasons: Sequence[int]) -> tuple[list[str], list[str]]:
        """Return the item ids and the reasons of a list's codes. Raises PostgresDownError."""
        codes = self.known.get(batch_id) or CodeTexts()
        ids, texts = codes.items, codes.reasons
        if missing := [code for code in items if code not in ids]:
            ids |= {row[0]: row[1] for row in await self._requests.fetch(_ITEMS, batch_id, missing)}
        if missing := [code for code in reasons if code not in texts]:
            if len(texts) > _MOST_REASONS:
                texts.clear()
                missing = list(reasons)
            texts |= {row[0]: row[1] for row in await self._requests.fetch(_REASONS, batch_id, missing)}
        return [ids.get(code, "") for code in items], [texts.get(code, "") for code in reasons]


def _by_code(rows: Sequence[Sequence[Any]]) -> dict[int, str]:
    codes, texts = rows[0]
    return dict(zip(codes, texts, strict=True))


@dataclass(frozen=True, slots=True)
class LiveBatch:
    """The batch that readers of a placement see."""

    batch_id: int
    model_version: int


class LiveBatches:
    """The live batch of each placement, as last read."""

    def __init__(self, postgres: "Postgres", codes: BatchCodes) -> None:
        """Read through these connections, and load the codes of each new batch before it is shown here."""
        self._postgres, self._codes = postgres, codes
        self.by_placement: MappingProxyType[str, LiveBatch] = MappingProxyType({})
        self.rules: Mapping[int, RuleLayer] = MappingProxyType({})
        """The rules of operators that each live batch was made under."""
        self.read = False
        """Whether they were read at all."""

    async def refresh(self) -> None:
        """Read the pointers. Raises PostgresDownError; the last ones stay."""
        rows = await self._postgres.fetch(_LIVE_BATCHES)
        await self._codes.load(row["batch_id"] for row in rows)
        # A known batch keeps its object, by which answers recognise rules that are prepared already.
        rules = {
            row["batch_id"]: self.rules[row["batch_id"]]
            if row["batch_id"] in self.rules
            else layer_from_json(orjson.loads(row["operator_rules"]))
            for row in rows
        }
        self.rules = MappingProxyType(rules)
        self.by_placement = MappingProxyType(
            {row["placement"]: LiveBatch(row["batch_id"], row["model_version"]) for row in rows}
        )
        self.read = True
        for row in rows:
            BATCH_AGE.labels(row["placement"]).set(row["age"])


class PublishedLists:
    """Reads lists with at most one statement per list at a time, and few statements at all under load."""

    def __init__(self, postgres: "Postgres", codes: BatchCodes) -> None:
        """Read through these connections, at most half of them at a time, and resolve the codes of batches."""
        self._postgres, self._codes = postgres, codes
        self._rows = SharedReads(self._read, postgres.size)

    async def read(self, placement: str, subject: str, *, of_batch: bool = False) -> Listed:
        """Return the list of a subject: one that was scored after an event takes the place of that of the batch.

        With `of_batch` it does not. Raises PostgresDownError.
        """
        row = await self._rows.get((placement, subject))
        standing, batch_id = _standing(row), row["batch_id"]
        if row["live_items"] is not None and not of_batch:
            entries = _entries(row["live_items"], row["live_scores"], row["live_reasons"])
            return Listed(standing, None, row["live_model_version"], entries, row["read_at"])
        if row["items"] is None or batch_id is None:
            return Listed(standing, batch_id, row["model_version"], None, row["read_at"])
        items, reasons = await self._codes.resolve(batch_id, row["items"], row["reasons"])
        entries = tuple(entry for entry in _entries(items, row["scores"], reasons) if entry[0])
        return Listed(standing, batch_id, row["model_version"], entries, row["read_at"])

    async def _read(self, keys: Sequence[Key]) -> list[Any]:
        rows = await self._postgres.fetch(_SERVED_LISTS, *map(list, zip(*keys, strict=True)))
        return sorted(rows, key=itemgetter("nth"))


def _standing(row: Any) -> Standing:
    consent, excluded = row["consent"], row["excluded"]
    if consent is None and not excluded:
        return NOBODY
    return Standing(consent is not None, bool(consent) and not row["suppressed"], tuple(excluded))


def _entries(
    items: Iterable[str], scores: Iterable[float], reasons: Iterable[str]
) -> tuple[tuple[str, float, str], ...]:
    return tuple(zip(items, map(rounded, scores), reasons, strict=True))


def rounded(score: float) -> float:
    """Return a 32-bit number without the digits that it does not have."""
    return round(score, 7) if abs(score) > _SMALL else score


class UserLists:
    """The lists of users and items in the live batches."""

    def __init__(self, lists: PublishedLists, live: LiveBatches, loads: SharedLoads | None, changes: "Changes") -> None:
        """Keep lists in the cache of `loads`; without one each request reads its own."""
        self._lists, self._live, self._loads, self._changes = lists, live, loads, changes
        self._dropping: set[asyncio.Task[None]] = set()
        if loads is not None:
            changes.on_users(partial(self._drop, loads))

    async def of_item(self, placement: str, item_id: str) -> Listed:
        """Return an item's list. Raises PostgresDownError."""
        return await self._cached(placement, item_id)

    async def of_user(self, placement: str, user_key: str) -> Listed:
        """Return a user's list and standing, as they are after all changes that this process has been notified of.

        Raises PostgresDownError, or ChangedMeanwhileError.
        """
        listed = await self._cached(placement, user_key)
        for attempt in range(_ATTEMPTS):
            if self._changes.unchanged_since(user_key, listed.read_at):
                return listed
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS)  # the change is being dated
            listed = await self._cached(placement, user_key, outdated=True)
        raise ChangedMeanwhileError

    async def _cached(self, placement: str, subject: str, *, outdated: bool = False) -> Listed:
        if self._loads is None:
            return await self._lists.read(placement, subject)
        key, number = self._key(placement, subject)
        read = self._loads.replace if outdated else self._loads.get
        loaded: list[Listed] = []
        load = partial(self._load, loaded, placement, subject, number)
        value = await read(key, load)
        if loaded:
            return loaded[0]
        try:
            return _decoded(value)
        except (ValueError, TypeError):  # another program wrote it
            return _decoded(await self._loads.replace(key, load))

    def _key(self, placement: str, subject: str) -> tuple[str, int | None]:
        """Return the key of a subject's list in the cache, and its batch."""
        batch = self._live.by_placement.get(placement)
        number, version = (None, None) if batch is None else (batch.batch_id, batch.model_version)
        return cache_key(placement, number, version, "list", subject), number

    def _drop(self, loads: SharedLoads, users: frozenset[str] | None) -> None:
        """Delete the lists of users who changed from the cache: who was erased does not ask for another one."""
        keys = [self._key(placement, user)[0] for placement in self._live.by_placement for user in users or ()]
        task = asyncio.get_running_loop().create_task(loads.drop(keys))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    async def _load(self, loaded: list[Listed], placement: str, subject: str, live: int | None) -> Loaded:
        """Return the list as bytes for others, and add it to `loaded`."""
        listed = await self._lists.read(placement, subject)
        loaded.append(listed)
        # A new user, and a batch that was just published, are to be seen by the next request. A list without a batch
        # counts under the rules and until the moment that the database knows.
        lasts = listed.standing.known if listed.entries is None else listed.batch_id is not None
        return Loaded(_encoded(listed), keep=lasts and listed.batch_id == live)


def _encoded(listed: Listed) -> bytes:
    standing, *others = listed
    return orjson.dumps((standing.known, standing.consented, standing.excluded, *others))


def _decoded(value: bytes) -> Listed:
    known, consented, excluded, batch_id, version, entries, read_at = orjson.loads(value)
    listed = None if entries is None else tuple(map(tuple, entries))
    return Listed(Standing(known, consented, tuple(excluded)), batch_id, version, listed, read_at)
