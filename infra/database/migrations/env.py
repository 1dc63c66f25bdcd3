"""Alembic's entry: runs migrations on the connection that `infra.database.engine.migrate` opened."""

from alembic import context

from infra.database.schema.rules_schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, include_schemas=True)
with context.begin_transaction():
    context.run_migrations()
