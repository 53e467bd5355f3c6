"""The durable schema, as numbered revisions that Alembic applies; the SQL of each stands in a file beside it.

upgrade(url)    bring a database to the newest revision, one transaction a revision, one upgrader at a time
pending(url)    the revisions it still lacks
"""

from migrations.upgrade import Revision, newest, pending, upgrade

__all__ = ["Revision", "newest", "pending", "upgrade"]
