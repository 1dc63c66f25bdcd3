"""Tables of records that only Tailorbird writes, so that it can trust them: fingerprints of keys, trained bundles."""

from sqlalchemy import Boolean, CheckConstraint, Column, Integer, Table, Text

from infra.database.schema.schema import metadata, moment

fingerprints = Table(
    "installation_fingerprints",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("public_key", Text),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    moment("since", now=True),
    moment("retired_at"),
    Column("retired_by", Text),
    Column("retired_because", Text),
    Column("pending", Boolean, nullable=False, server_default="false"),
    CheckConstraint(
        "kind IN ('installation', 'pseudonym-key', 'signing-key')", name="ck_installation_fingerprints_kind"
    ),
    comment="Fingerprints of the keys, one row per key; the highest generation is in use. The kind `installation` "
    "holds the random id that var and lake hold too. A public signing key stays trusted until `retired_at`. "
    "A `pending` key is in use once all stores are re-keyed.",
)

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
    moment("forgotten_at"),
    comment="What training stored in MLflow, by run. `digest` is that of the bundle's manifest, `evaluation_digest` "
    "that of the measured figures. Artifacts in MLflow that differ are refused. At `forgotten_at` the model was "
    "deleted, because it had learned from users who were erased.",
)
