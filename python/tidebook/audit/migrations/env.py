"""What Alembic runs: the revisions of `versions/` on the connection, and in the transaction, that `upgrade` has."""

from alembic import context

from tidebook.audit.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
