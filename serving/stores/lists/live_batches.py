"""Keeps in memory which batch each placement shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import orjson

from models.lists.rules.layer.rule_layer import RuleLayer
from models.lists.rules.layer.rule_version import layer_from_json
from serving.http.metrics import BATCH_AGE
from serving.stores.database.postgres import Postgres
from serving.stores.lists.batch_codes import BatchCodes

_STATEMENT: Final = (
    "SELECT live.placement, live.batch_id, batch.model_version, batch.subject_kind, batch.operator_rules, "
    "extract(epoch FROM now() - live.checked_at)::float8 AS age "
    "FROM placements AS live JOIN recommendation_batches AS batch ON batch.batch_id = live.batch_id"
)


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
