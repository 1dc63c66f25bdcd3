"""Requests of people over the API, and copies of their data"""

from alembic import op

from infra.database.engine import run_files
from infra.database.schema.privacy_schema import privacy_files, privacy_requests
from infra.database.schema.schema import exclusions

revision = "0035"
down_revision = "0034"
_KINDS = "'restrict', 'lift', 'erase', 'export', 'correct', 'object', 'withdraw'"


def upgrade() -> None:
    """Add the kinds of requests, what they are about, and the function that records them."""
    table = "ALTER TABLE identity.privacy_requests"
    # A database that comes from before 0034 has the columns.
    op.execute(f"{table} ADD COLUMN IF NOT EXISTS suppress boolean NOT NULL DEFAULT false")
    op.execute(f"{table} ADD COLUMN IF NOT EXISTS purpose text")
    op.execute(f"{table} DROP CONSTRAINT ck_privacy_requests_kind")
    op.execute(f"{table} ADD CONSTRAINT ck_privacy_requests_kind CHECK (kind IN ({_KINDS}))")
    op.create_table_comment("privacy_requests", privacy_requests.comment, schema="identity")
    op.execute("COMMENT ON COLUMN identity.privacy_requests.suppress IS 'Whether erased users stay away.'")
    purpose = "The placement that an objection is to, or its withdrawal."
    op.execute(f"COMMENT ON COLUMN identity.privacy_requests.purpose IS '{purpose}'")
    scopes = "scopes <@ ARRAY['read', 'write', 'privacy', 'admin', 'collect'] AND cardinality(scopes) > 0"
    op.execute("ALTER TABLE api_keys DROP CONSTRAINT ck_api_keys_scopes")
    op.execute(f"ALTER TABLE api_keys ADD CONSTRAINT ck_api_keys_scopes CHECK ({scopes})")
    privacy_files.create(op.get_bind())
    kinds = "'item', 'brand', 'category', 'placement'"
    op.execute("ALTER TABLE exclusions DROP CONSTRAINT ck_exclusions_kind")
    op.execute(f"ALTER TABLE exclusions ADD CONSTRAINT ck_exclusions_kind CHECK (kind IN ({kinds}))")
    op.create_table_comment("exclusions", exclusions.comment)
    # 0038 replaces the views and functions of lists, which know objections too.
    run_files(op.get_bind(), "privacy_functions")
