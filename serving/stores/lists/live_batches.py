"""Keeps in memory which batch each placement shows, and the texts of the codes of its lists."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import orjson

from models.lists.rules.layer.rule_layer import RuleLayer
from models.lists.rules.layer.rule_version import layer_from_json
from serving.http.metrics import BATCH_AGE
from serving.stores.database.postgres import Postgres

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
_STATEMENT: Final = (
    "SELECT live.placement, live.batch_id, batch.model_version, batch.subject_kind, batch.operator_rules, "
    "extract(epoch FROM now() - live.checked_at)::float8 AS age "
    "FROM placements AS live JOIN recommendation_batches AS batch ON batch.batch_id = live.batch_id"
)


@dataclass(frozen=True, slots=True)
class CodeTexts:
    """The texts of the codes of one batch."""

    items: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)


class BatchCodes:
    """The texts of the codes of each live batch."""

    def __init__(
        self, requests: Postgres, background: Postgres, known: Mapping[int, CodeTexts] = MappingProxyType({})
    ) -> None:
        """Read missing codes through the connections for requests, and whole batches in the background.

        `known` batches are in memory already.
        """
        self._requests, self._background = requests, background
        self._batches = dict(known)

    @property
    def known(self) -> Mapping[int, CodeTexts]:
        """Return the texts of all batches in memory."""
        return self._batches

    async def load(self, batch_ids: Iterable[int]) -> None:
        """Load the texts of these batches once, and drop those of all others. Raises PostgresDownError."""
        live = set(batch_ids)
        for batch_id in live - self._batches.keys():
            items, reasons = await asyncio.gather(
                self._background.fetch(_ALL_ITEMS, batch_id), self._background.fetch(_ALL_REASONS, batch_id)
            )
            self._batches[batch_id] = CodeTexts(_by_code(items), _by_code(reasons))
        for batch_id in self._batches.keys() - live:
            del self._batches[batch_id]

    async def resolve(self, batch_id: int, items: Sequence[int], reasons: Sequence[int]) -> tuple[list[str], list[str]]:
        """Return the item ids and the reasons of a list's codes. Raises PostgresDownError."""
        codes = self._batches.get(batch_id) or CodeTexts()
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
    subject_kind: str


class LiveBatches:
    """The live batch of each placement, as last read."""

    def __init__(self, postgres: Postgres, codes: BatchCodes) -> None:
        """Read through these connections, and load the codes of each new batch before it is shown here."""
        self._postgres, self._codes = postgres, codes
        self.by_placement: MappingProxyType[str, LiveBatch] = MappingProxyType({})
        self.rules: Mapping[int, RuleLayer] = MappingProxyType({})
        """The rules of operators that each live batch was made under."""
        self.read = False
        """Whether they were read at all."""

    async def refresh(self) -> None:
        """Read the pointers. Raises PostgresDownError; the last ones stay."""
        rows = await self._postgres.fetch(_STATEMENT)
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
            {row["placement"]: LiveBatch(row["batch_id"], row["model_version"], row["subject_kind"]) for row in rows}
        )
        self.read = True
        for row in rows:
            BATCH_AGE.labels(row["placement"]).set(row["age"])
