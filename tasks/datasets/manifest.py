"""The manifest of a data set: its definition, its tables, and the results of its checks."""

from typing import TypedDict

from models.primitives.json_types import JsonObject


class Definition(TypedDict):
    """The inputs of a data set. The same definition on the same batches gives the same data set."""

    format: int
    events_version: int
    split: JsonObject
    """The values of a SplitConfig."""
    label: JsonObject
    """The values of a LabelConfig."""
    features: dict[str, list[str]]
    batches: str
    users: str
    aliases: str
    definition: str
    """A digest of all the above."""


class SnapshotRecord(TypedDict):
    """The tables of a data set as written to the lake."""

    refunds: dict[str, int]
    rows: dict[str, int]
    content_hash: dict[str, str]
    hashed_by: str
    traits: list[str]


class AcceptedCheck(TypedDict):
    """A failed check that a person accepted."""

    check: str
    value: float | None
    detail: str
    reason: str
    accepted_by: str


class CheckRecord(TypedDict):
    """The results of a data set's checks."""

    figures: dict[str, float | None]
    lake: dict[str, float | None]
    null_shares: dict[str, dict[str, float]]
    warnings: list[str]
    accepted: list[AcceptedCheck]


class DatasetManifest(Definition, SnapshotRecord, CheckRecord):
    """A data set with its version and its cuts (epoch s). Manifests of older formats lack some keys."""

    version: str
    validation_from: int
    test_from: int
    as_of: int
