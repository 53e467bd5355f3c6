"""A private TimescaleDB for one machine: found or installed, started, stopped, described. No root, no container."""

from framehouse.embedded.server import Connection, Server, connection, database_url, down, up
from framehouse.embedded.state import Status, has_died, status

__all__ = ["Connection", "Server", "Status", "connection", "database_url", "down", "has_died", "status", "up"]
