"""Alembic's entry: runs migrations on the connection that `infra.database.engine.migrate` opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
