"""The revision whose SQL stands beside this file."""

from migrations.sql import run_beside

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__, role=None)
