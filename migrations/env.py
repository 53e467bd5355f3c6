"""What Alembic runs for each upgrade: one transaction a revision, on the connection it is given."""

from alembic import context

from migrations.upgrade import VERSION_TABLE

connection = context.config.attributes["connection"]
context.configure(connection=connection, transaction_per_migration=True, version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
