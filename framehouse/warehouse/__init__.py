"""The database, and the only importer of psycopg: connections, sessions, named statements."""

from framehouse.warehouse.pool import Session, Warehouse
from framehouse.warehouse.statements import statement

__all__ = ["Session", "Warehouse", "statement"]
