"""Run by Alembic, on the connection and in the transaction of whoever opens the store."""

from alembic import context

from autopeft.storage.tables import metadata

# Batches, because SQLite can change a table only by copying it.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
