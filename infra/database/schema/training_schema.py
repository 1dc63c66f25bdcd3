"""The table of trained bundles: the trusted record of MLflow's training runs."""

from sqlalchemy import Column, Table, Text

from infra.database.schema.schema import metadata as metadata  # every table there is: migrations are held against it
from infra.database.schema.schema import moment

trained_bundles = Table(
    "trained_bundles",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("run_key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("dataset_version", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("evaluation_digest", Text, nullable=False),
    moment("trained_at", now=True),
    comment="What training stored in MLflow, by run. `digest` is that of the bundle's manifest, `evaluation_digest` "
    "that of the measured figures. Artifacts in MLflow that differ are refused.",
)
